"""Every frame of a bag through a model, or together with the detections recorded for it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
import threading
import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.errors import BackendError, DataError, Mbv2SsdError, UnsupportedImageError
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bags.detection_content import detections_of, Found, read_detections
from mbv2ssd_ros.evaluation.bags.frames import BagFrame, read_frames
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.runs.journal import Journal
from mbv2ssd_ros.evaluation.runs.shared_backend import SharedBackend
from mbv2ssd_ros.evaluation.truth.pairing import pair_by_stamp
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


class Unanswered(Mbv2SsdError):
    """No detections were recorded for a frame."""


class DetectionSource(Protocol):
    """Where detections come from."""

    class_names: tuple[str, ...]

    def detect(self, frame: BagFrame) -> Processed:
        """Process a frame, in any thread; Unanswered: no detections were recorded for it."""


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
    """Detections recorded in the bag for its images."""

    def __init__(self, bag: Bag, topics: Sequence[str], detection_topics: Sequence[str],
                 clock: str, tolerance_ns: int) -> None:
        """
        Read all detections, which are small, and the stamps of all frames, and pair them.

        Where cameras set no stamps, the clock 'recorded' pairs times of recording. DataError:
        stamps repeat and the clock is 'header'.
        """
        self.class_names: tuple[str, ...] = ()
        self._where, self._tolerance_ns = str(bag.path), tolerance_ns
        self._found: dict[int, list[Found]] = {}  # by number of the frame
        self._nearest_ns: dict[int, int] = {}  # of frames without detections
        messages: dict[str, list[tuple[int, int, list[Found]]]] = {name: [] for name in topics}
        for topic, message, found in read_detections(bag, detection_topics, topics):
            messages[topic].append((stamp_ns(message.content.header), message.log_ns, found))
        self.names_found = tuple(sorted({
            name for of_topic in messages.values() for _, _, found in of_topic
            for name, _, _ in found}))  # the classes of all detections
        frames: dict[str, list[tuple[int, int, int]]] = {name: [] for name in topics}
        with suppress(DataError):  # the bag ends early, which is reported when frames are detected
            for frame in read_frames(bag, topics, clock):
                if frame.message.content is not None:
                    frames[frame.topic].append(
                        (frame.header_ns, frame.message.log_ns, frame.number))
        for topic, of_topic in messages.items():
            stamps = [header_ns for header_ns, _, _ in of_topic]
            repeat = len(set(stamps)) < len(stamps)
            if repeat and clock == 'header':
                twice = Counter(stamps).most_common(1)[0][0]
                raise DataError(
                    f'{bag.path}: the detections for {topic} have two messages with the stamp '
                    f'{twice} ns, so that they cannot be assigned to frames; --clock recorded '
                    'pairs times of recording')
            self._pair(frames[topic], of_topic, int(repeat))

    def _pair(self, frames: Sequence[tuple[int, int, int]],
              messages: Sequence[tuple[int, int, list[Found]]], clock: int) -> None:
        """Pair (header, recording, number) with (header, recording, found) by one clock."""
        ours = [(header_ns, log_ns)[clock] for header_ns, log_ns, _ in frames]
        theirs = [(header_ns, log_ns)[clock] for header_ns, log_ns, _ in messages]
        paired = pair_by_stamp(ours, theirs, self._tolerance_ns)
        for index, other in paired.pairs:
            self._found[frames[index][2]] = messages[other][2]
        if theirs:
            stamps = np.array(theirs, np.int64)
            for index in paired.unpaired_first:
                self._nearest_ns[frames[index][2]] = int(np.abs(stamps - ours[index]).min())

    def detect(self, frame: BagFrame) -> Processed:
        """Look up the detections of a frame."""
        size_hw = frame.size_hw()
        found = self._found.get(frame.number)
        if found is None:
            nearest_ns = self._nearest_ns.get(frame.number)
            raise Unanswered(
                f'no detections were recorded within {self._tolerance_ns / 1e6:g} ms of its stamp'
                + ('' if nearest_ns is None else f'; the nearest are {nearest_ns / 1e6:g} ms away'
                   ' (--tolerance-ms)'))
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
    except Unanswered as err:
        reason, error = UNANSWERED, str(err)
    return FrameRecord(
        number=frame.number, topic=frame.topic, index=frame.index, stamp_ns=frame.stamp_ns,
        header_ns=frame.header_ns, log_ns=frame.message.log_ns, frame_id=frame.frame_id,
        size_hw=processed.size_hw if processed else None,
        detections=processed.detections if processed else None, reason=reason, error=error,
        times_ms=(read_ms, *processed.times_ms) if processed else ())


def latency_table(records: Sequence[FrameRecord]) -> NDArray[np.float64]:
    """Return (F, S) milliseconds of the frames with detections, in the order of STAGES."""
    return np.array([record.times_ms for record in records if record.times_ms], np.float64)
