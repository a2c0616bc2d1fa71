"""
Chooses the next frame to infer, and its thread.

Every camera has a mailbox for one frame: a newer frame replaces the waiting one, so nothing
queues. Workers take the camera that waited longest since its last turn first. One camera needs
no mailbox: its frame is processed in the thread that brings it, which is cheaper than a
handover; the middleware (depth 1) replaces frames that come meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
import time
from typing import Generic, Protocol

from mbv2ssd_ros.frames import Frame, INTERNAL_ERROR, Payload, SHUTDOWN

# Processes a batch: ends every frame of it by publish() or drop(). Called by one thread at a time.
Processor = Callable[[Sequence[Frame[Payload]]], None]
# Receives an exception of a processor, in the thread where it was raised.
ErrorReport = Callable[[Exception], None]


class Scheduler(Protocol[Payload]):
    """Processes submitted frames."""

    def submit(self, frame: Frame[Payload]) -> None:
        """Take over a frame and end it; all frames of a camera come from one thread."""

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Drop waiting and later frames; False when a thread outlasts the timeout and stays."""


def make_scheduler(camera_count: int, processors: Sequence[Processor[Payload]], max_batch: int,
                   max_batch_wait_s: float, report: ErrorReport) -> Scheduler[Payload]:
    """Make a running scheduler; a frame waits max_batch_wait_s at most to fill its batch."""
    if camera_count == 1:
        return InlineScheduler(processors[0], report)
    return WorkerScheduler(
        camera_count, processors[:camera_count], max_batch, max_batch_wait_s, report)


class InlineScheduler(Generic[Payload]):
    """Processes a frame at once, in the thread that submits it. For one camera."""

    def __init__(self, processor: Processor[Payload], report: ErrorReport) -> None:
        self._processor = processor
        self._report = report
        self._stopped = False

    def submit(self, frame: Frame[Payload]) -> None:
        """Process the frame; see Scheduler.submit."""
        if self._stopped:
            frame.drop(SHUTDOWN)
        else:
            frame.enter()
            _process(self._processor, [frame], self._report)

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Refuse later frames; one under way ends in the thread that submitted it."""
        self._stopped = True
        return True


class WorkerScheduler(Generic[Payload]):
    """
    A mailbox for each camera and a thread for each processor.

    While a frame of a camera is under way its next one waits, to keep the detections in order.
    """

    def __init__(self, camera_count: int, processors: Sequence[Processor[Payload]],
                 max_batch: int, max_batch_wait_s: float, report: ErrorReport) -> None:
        self._max_batch = max_batch
        self._max_batch_wait_s = max_batch_wait_s if max_batch > 1 else 0.0
        self._report = report
        self._changed = threading.Condition()
        self._mailboxes: list[Frame[Payload] | None] = [None] * camera_count
        self._busy = [False] * camera_count
        self._last_turn = [0] * camera_count  # number of the turn; 0 before the first
        self._turn = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, args=(processor,), name=f'infer-{index}',
                             daemon=True)
            for index, processor in enumerate(processors)]
        for thread in self._threads:
            thread.start()

    def submit(self, frame: Frame[Payload]) -> None:
        """Put the frame into its mailbox; see Scheduler.submit."""
        with self._changed:
            if self._stopping:
                frame.drop(SHUTDOWN)
                return
            frame.enter(in_place_of=self._mailboxes[frame.camera])
            self._mailboxes[frame.camera] = frame
            self._changed.notify()

    def stop(self, timeout_s: float = 1.5) -> bool:
        """End; see Scheduler.stop."""
        with self._changed:
            self._stopping = True
            waiting = [frame for frame in self._mailboxes if frame is not None]
            self._mailboxes = [None] * len(self._mailboxes)
            self._changed.notify_all()
        for frame in waiting:
            frame.drop(SHUTDOWN)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, processor: Processor[Payload]) -> None:
        while batch := self._next_batch():
            _process(processor, batch, self._report)
            with self._changed:
                for frame in batch:
                    self._busy[frame.camera] = False

    def _next_batch(self) -> list[Frame[Payload]]:
        """Wait for frames; an empty batch means the end."""
        with self._changed:
            while not self._stopping:
                ready = self._ready()
                patience = self._patience(ready)
                if ready and patience <= 0:
                    return self._take(ready)
                self._changed.wait(patience if ready else None)
            return []

    def _ready(self) -> list[Frame[Payload]]:
        """Frames that may be taken, the camera with the longest wait for a turn first."""
        ready = [frame for frame in self._mailboxes
                 if frame is not None and not self._busy[frame.camera]]
        return sorted(ready, key=lambda frame: self._last_turn[frame.camera])

    def _patience(self, ready: list[Frame[Payload]]) -> float:
        """Seconds for which an incomplete batch still waits for more cameras."""
        reachable = min(self._max_batch, self._busy.count(False))
        if not ready or len(ready) >= reachable:
            return 0.0
        oldest = min(frame.arrived for frame in ready)
        return oldest + self._max_batch_wait_s - time.monotonic()

    def _take(self, ready: list[Frame[Payload]]) -> list[Frame[Payload]]:
        batch = ready[:self._max_batch]
        self._turn += 1
        for frame in batch:
            self._mailboxes[frame.camera] = None
            self._busy[frame.camera] = True
            self._last_turn[frame.camera] = self._turn
        if len(ready) > len(batch):
            self._changed.notify()  # another worker may take the rest
        return batch


def _process(processor: Processor[Payload], batch: Sequence[Frame[Payload]],
             report: ErrorReport) -> None:
    """Run a processor on a batch; every frame of it ends, also after an error."""
    try:
        processor(batch)
    except Exception as err:  # a bug must cost its frames, not the thread
        report(err)
    finally:
        for frame in batch:
            if not frame.ended:
                frame.drop(INTERNAL_ERROR)
