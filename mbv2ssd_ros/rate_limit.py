"""Selects the frames of a camera that sends more than it should."""

from __future__ import annotations


class RateLimit:
    """
    Admits at most max_rate_hz frames a second, evenly spread; 0 admits all.

    The next due time moves by whole periods: 20 Hz of a 30 Hz camera give 20 frames, not 15.
    """

    def __init__(self, max_rate_hz: float) -> None:
        self.max_rate_hz = max_rate_hz
        self._due = float('-inf')

    def admits(self, now: float) -> bool:
        """Whether to take the frame that arrives now (monotonic seconds)."""
        if self.max_rate_hz <= 0:
            return True
        period = 1 / self.max_rate_hz
        # a camera at exactly the limit jitters around it: 5 % of a period must not cost a frame
        if now < self._due - 0.05 * period:
            return False
        late = now - self._due
        self._due = now + period if late > period else self._due + period
        return True
