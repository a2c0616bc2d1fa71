"""Which frames of a camera are taken when it sends more than it should."""

from __future__ import annotations


class RateLimit:
    """
    Lets through at most a number of frames a second, evenly spread.

    The next due time moves by whole periods, so that a limit of 20 Hz on a camera of 30 Hz gives
    20 frames a second and not 15.
    """

    def __init__(self, max_rate_hz: float) -> None:
        """
        Start with the first frame due.

        Args:
            max_rate_hz: 0 lets everything through.
        """
        self.max_rate_hz = max_rate_hz
        self._due = float('-inf')

    def admits(self, now: float) -> bool:
        """
        Decide on the frame that arrives now.

        Args:
            now: monotonic seconds, never going back.

        Returns:
            True when the frame is to be taken.
        """
        if self.max_rate_hz <= 0:
            return True
        period = 1 / self.max_rate_hz
        # a camera at exactly the limit jitters around it: half of a tenth must not cost a frame
        if now < self._due - 0.05 * period:
            return False
        late = now - self._due
        self._due = now + period if late > period else self._due + period
        return True
