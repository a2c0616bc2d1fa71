"""Every frame of a bag through a model, or together with the detections recorded for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
import threading
import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.errors import BackendError, DataError, UnsupportedImageError
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bags.detection_content import detections_of, Found, read_detections
from mbv2ssd_ros.evaluation.bags.frames import BagFrame, read_frames
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.runs.journal import Journal
from mbv2ssd_ros.evaluation.runs.shared_backend import SharedBackend
from mbv2ssd_ros.frames import BACKEND_ERROR, UNDECODABLE

UNANSWERED = 'unanswered'  # no detections were recorded for the frame
_THREADS = 2  # one prepares a frame or selects its detections while another one infers
_NAN = float('nan')
Progress = Callable[[Iterator[FrameRecord]], Iterator[FrameRecord]]


@dataclass(frozen=True)
class Processed:
    """One frame with its detections."""

    size_hw: tuple[int, int]
    detections: Detections  # in pixels, labels 1-based
    times_ms: tuple[float, float, float, float]  # decode, preprocess, infer, select


class DetectionSource(Protocol):
    """Where detections come from."""

    class_names: tuple[str, ...]

    def detect(self, frame: BagFrame) -> Processed | None:
        """Process a frame, in any thread; None where no detections were recorded for it."""


class ModelDetections:
    """Detections that a model computes now."""

    def __init__(self, backend: Backend, settings: DetectionSettings) -> None:
        self._backend, self._settings = backend, settings
        self._inference = ThreadPoolExecutor(1, 'infer')
        self._of_thread = threading.local()
        self.class_names = backend.contract.object_names

    def detect(self, frame: BagFrame) -> Processed:
        """Detect in a frame."""
        backend, detector = self._own()
        started = time.perf_counter()
        image = frame.image()
        decode_ms = 1e3 * (time.perf_counter() - started)
        found, times = detector.detect([image])[0], detector.last_times
        labels = found.labels + backend.contract.label_offset
        return Processed(
            image.size_hw, Detections(found.boxes_xyxy, found.scores, labels),
            (decode_ms, times.preprocess_ms, backend.infer_ms, times.postprocess_ms))

    def _own(self) -> tuple[SharedBackend, Detector]:
        """Return backend and detector of this thread: a detector has one buffer."""
        if not hasattr(self._of_thread, 'detector'):
            backend = SharedBackend(self._backend, self._inference)
            self._of_thread.backend = backend
            self._of_thread.detector = Detector(backend, self._settings)
        return self._of_thread.backend, self._of_thread.detector


class RecordedDetections:
    """Detections recorded in the bag with the stamps of the images."""

    def __init__(self, bag: Bag, topics: Sequence[str], detection_topics: Sequence[str]) -> None:
        """Read all detections, which are small; DataError also where a stamp occurs twice."""
        self.class_names: tuple[str, ...] = ()
        self._where = str(bag.path)
        self._found: dict[tuple[str, int], list[Found]] = {}
        for topic, message, found in read_detections(bag, detection_topics, topics):
            key = topic, stamp_ns(message.content.header)
            if key in self._found:
                raise DataError(
                    f'{bag.path}: {message.topic} has two messages with the stamp {key[1]} ns, '
                    'so that detections cannot be assigned to frames')
            self._found[key] = found

    @property
    def names_found(self) -> tuple[str, ...]:
        """The classes of all detections, sorted."""
        return tuple(sorted({name for found in self._found.values() for name, _, _ in found}))

    def detect(self, frame: BagFrame) -> Processed | None:
        """Look up the detections of a frame."""
        size_hw = frame.size_hw()
        found = self._found.get((frame.topic, frame.header_ns))
        if found is None:
            return None
        return Processed(size_hw, detections_of(found, self.class_names, self._where),
                         (_NAN, _NAN, _NAN, _NAN))


def run(bag: Bag, topics: Sequence[str], source: DetectionSource, journal: Journal, clock: str,
        progress: Progress = iter) -> str:
    """
    Process every frame that the journal does not have yet; clock: see read_frames.

    Returns why the bag could not be read to its end, empty where it could. DataError: the journal
    cannot be written.
    """
    damage = ''

    def frames() -> Iterator[tuple[BagFrame, float]]:
        nonlocal damage
        reading = read_frames(bag, topics, clock)
        done = len(journal.records)
        while True:
            started = time.perf_counter()
            try:
                frame = next(reading, None)
            except DataError as err:  # the frames before it count
                damage = str(err)
                return
            if frame is None:
                return
            if frame.number >= done:
                yield frame, 1e3 * (time.perf_counter() - started)

    with closing(_processed(frames(), source)) as records:  # its threads end in any case
        for record in progress(records):
            journal.append(record)
    return damage


def _processed(frames: Iterable[tuple[BagFrame, float]], source: DetectionSource
               ) -> Generator[FrameRecord, None, None]:
    """
    Process frames in their order while further ones are read and finished ones recorded.

    Decoding and resizing the next frame and selecting the detections of the last one overlap with
    inference. At most _THREADS + 1 frames are in memory.
    """
    with ThreadPoolExecutor(_THREADS, 'detect') as threads:
        pending: deque[Future[FrameRecord]] = deque()
        try:
            for frame, read_ms in frames:
                pending.append(threads.submit(_record, frame, read_ms, source))
                if len(pending) > _THREADS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _record(frame: BagFrame, read_ms: float, source: DetectionSource) -> FrameRecord:
    processed, reason, error = None, '', ''
    try:
        processed = source.detect(frame)
    except UnsupportedImageError as err:
        reason, error = UNDECODABLE, str(err)
    except BackendError as err:
        reason, error = BACKEND_ERROR, str(err)
    else:
        if processed is None:
            reason, error = UNANSWERED, 'no detections were recorded with its stamp'
    return FrameRecord(
        number=frame.number, topic=frame.topic, index=frame.index, stamp_ns=frame.stamp_ns,
        header_ns=frame.header_ns, log_ns=frame.message.log_ns, frame_id=frame.frame_id,
        size_hw=processed.size_hw if processed else None,
        detections=processed.detections if processed else None, reason=reason, error=error,
        times_ms=(read_ms, *processed.times_ms) if processed else ())


def latency_table(records: Sequence[FrameRecord]) -> NDArray[np.float64]:
    """Return (F, S) milliseconds of the frames with detections, in the order of STAGES."""
    return np.array([record.times_ms for record in records if record.times_ms], np.float64)
