"""Warnings that repeat with every frame, said once in a while."""

from __future__ import annotations

from collections.abc import Callable, Hashable
import threading
import time


class ThrottledLog:
    """
    Lets one message of each kind through in a period; any thread may call it.

    rclpy's own throttle goes by the line of the call: a second camera's trouble would be silenced
    by the first one's.
    """

    def __init__(self, write: Callable[[str], object], period_s: float = 5.0) -> None:
        """
        Start with nothing said.

        Args:
            write: gets the messages that are let through.
            period_s: between two messages of one kind.
        """
        self._write = write
        self._period_s = period_s
        self._lock = threading.Lock()
        self._silent_until: dict[Hashable, float] = {}
        self._suppressed: dict[Hashable, int] = {}

    def __call__(self, kind: Hashable, message: str) -> None:
        """
        Write a message unless one of its kind was written a short time ago.

        Args:
            kind: what must not silence each other has different kinds. Each is remembered, so
                it is nothing that changes with every message.
            message: the text; the number of those left out since is added.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._silent_until.get(kind, 0.0):
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return
            self._silent_until[kind] = now + self._period_s
            suppressed = self._suppressed.pop(kind, 0)
        self._write(f'{message} ({suppressed} more like this since)' if suppressed else message)
