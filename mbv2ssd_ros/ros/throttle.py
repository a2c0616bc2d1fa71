"""Throttled log for messages that repeat with every frame."""

from __future__ import annotations

from collections.abc import Callable, Hashable
import threading
import time


class ThrottledLog:
    """
    Writes one message of each kind per period; any thread may call it.

    rclpy's throttle is keyed by the calling line: one camera would suppress another.
    """

    def __init__(self, write: Callable[[str], object], period_s: float = 5.0) -> None:
        self._write = write
        self._period_s = period_s
        self._lock = threading.Lock()
        self._silent_until: dict[Hashable, float] = {}
        self._suppressed: dict[Hashable, int] = {}

    def __call__(self, kind: Hashable, message: str) -> None:
        """
        Write a message, with the number suppressed since the last, unless one is too recent.

        Kinds are kept: their number must be limited.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._silent_until.get(kind, 0.0):
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return
            self._silent_until[kind] = now + self._period_s
            suppressed = self._suppressed.pop(kind, 0)
        self._write(f'{message} ({suppressed} more like this since)' if suppressed else message)
