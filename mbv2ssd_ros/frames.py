"""
The counters of one camera: every frame is received once and ends once.

received = published + dropped + in flight holds at every moment: a snapshot is taken under the
lock of the counters, and a frame is entered in the same step in which the frame that it
replaces is dropped, so at most one frame of a camera waits and one is under way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
import threading
import time
from typing import Generic, TypeVar

Payload = TypeVar('Payload')

# Why a frame was dropped.
SKIPPED = 'skipped'  # published, but lost or replaced by a newer one before the node took it
REPLACED = 'replaced'  # a newer frame of its camera came before its turn
RATE_LIMITED = 'rate_limited'  # its camera sends more than max_rate_hz
STALE = 'stale'  # older than max_age_ms
UNDECODABLE = 'undecodable'  # unknown encoding, impossible size, truncated or corrupt
BACKEND_ERROR = 'backend_error'  # the inference engine failed
INTERNAL_ERROR = 'internal_error'  # an unexpected error; logged with its traceback
SHUTDOWN = 'shutdown'  # the node was deactivated before its turn
DROP_REASONS = (
    SKIPPED, REPLACED, RATE_LIMITED, STALE, UNDECODABLE, BACKEND_ERROR, INTERNAL_ERROR, SHUTDOWN)


@dataclass(frozen=True)
class FrameCounts:
    """The counters of one camera at one moment."""

    received: int  # the skipped ones included
    published: int
    dropped: dict[str, int]  # by every reason, also where 0

    @property
    def in_flight(self) -> int:
        """Frames that are waiting or under way."""
        return self.received - self.published - sum(self.dropped.values())


class FrameCounters:
    """Counts the frames of one camera; any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._published = 0
        self._dropped: Counter[str] = Counter()

    def receive(self, camera: int, payload: Payload) -> Frame[Payload]:
        """Make a frame, counted as soon as it waits or ends; it must end by publish or drop."""
        return Frame(camera, payload, self)

    def skip(self, count: int) -> None:
        """Count frames that were published but never arrived here."""
        with self._lock:
            self._received += count
            self._dropped[SKIPPED] += count

    def counts(self) -> FrameCounts:
        """Take a snapshot of the counters, consistent with each other."""
        with self._lock:
            dropped = {reason: self._dropped[reason] for reason in DROP_REASONS}
            return FrameCounts(self._received, self._published, dropped)

    def _enter(self, replaces: bool) -> None:
        with self._lock:
            self._received += 1
            self._dropped[REPLACED] += replaces

    def _end(self, drop_reason: str | None, entered: bool) -> None:
        with self._lock:
            self._received += not entered
            if drop_reason is None:
                self._published += 1
            else:
                self._dropped[drop_reason] += 1


class Frame(Generic[Payload]):
    """One frame under way. Made by FrameCounters.receive; ends exactly once."""

    __slots__ = ('camera', 'payload', 'arrived', '_counters', '_entered', '_ended')

    def __init__(self, camera: int, payload: Payload, counters: FrameCounters) -> None:
        self.camera = camera
        self.payload = payload
        self.arrived = time.monotonic()  # seconds
        self._counters = counters
        self._entered = False
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the frame was published or dropped."""
        return self._ended

    def enter(self, in_place_of: Frame[Payload] | None = None) -> None:
        """Count the frame as in flight and the waiting one that it replaces as dropped."""
        assert not self._entered, f'a frame of camera {self.camera} is entered twice'
        self._entered = True
        if in_place_of is not None:
            in_place_of._close()
        self._counters._enter(in_place_of is not None)

    def publish(self) -> None:
        """Count the frame as published."""
        self._end(None)

    def drop(self, reason: str) -> None:
        """Count the frame as dropped, for one of DROP_REASONS."""
        assert reason in DROP_REASONS, reason
        self._end(reason)

    def _end(self, drop_reason: str | None) -> None:
        self._close()
        self._counters._end(drop_reason, self._entered)

    def _close(self) -> None:
        assert not self._ended, f'a frame of camera {self.camera} ends twice'
        self._ended = True
