"""Every frame of a bag through a model, or together with the detections that were recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
import threading
import time
from typing import Any, Protocol

import numpy as np

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.errors import BackendError, DataError, UnsupportedImageError
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bag import Bag
from mbv2ssd_ros.evaluation.bag_frames import BagFrame, read_frames
from mbv2ssd_ros.evaluation.detection_content import detections_of, Found, found_in
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.journal import Journal
from mbv2ssd_ros.evaluation.message_types import DETECTIONS
from mbv2ssd_ros.evaluation.shared_backend import SharedBackend
from mbv2ssd_ros.frames import BACKEND_ERROR, UNDECODABLE

UNANSWERED = 'unanswered'  # no detections were recorded for the frame
_THREADS = 2  # one prepares a frame, or works up its answer, while another one infers
_NAN = float('nan')
Progress = Callable[[Iterator[FrameRecord]], Iterator[FrameRecord]]


@dataclass(frozen=True)
class Answer:
    """What a source of detections says of a frame."""

    size_hw: tuple[int, int]
    detections: Detections  # in pixels, labels 1-based
    times_ms: tuple[float, float, float, float]  # decode, preprocess, infer, select


class Answers(Protocol):
    """Where detections come from."""

    class_names: tuple[str, ...]

    def answer(self, frame: BagFrame) -> Answer | None:
        """Detect in a frame, in any thread; None where there is no answer to it."""


class ModelAnswers:
    """Detections of a model, computed now."""

    def __init__(self, backend: Backend, settings: DetectionSettings) -> None:
        """
        Take a model.

        Args:
            backend: loaded.
            settings: what counts as a detection.
        """
        self._backend, self._settings = backend, settings
        self._inference = ThreadPoolExecutor(1, 'infer')
        self._of_thread = threading.local()
        self.class_names = backend.contract.object_names

    def answer(self, frame: BagFrame) -> Answer:
        """Detect in a frame."""
        backend, detector = self._own()
        started = time.perf_counter()
        image = frame.image()
        decode_ms = 1e3 * (time.perf_counter() - started)
        found, times = detector.detect([image])[0], detector.last_times
        labels = found.labels + backend.contract.label_offset
        return Answer(
            image.size_hw,
            Detections(found.boxes_xyxy, found.scores, labels),
            (decode_ms, times.preprocess_ms, backend.infer_ms, times.postprocess_ms))

    def _own(self) -> tuple[SharedBackend, Detector]:
        """Return what belongs to this thread: a detector has one buffer."""
        if not hasattr(self._of_thread, 'detector'):
            backend = SharedBackend(self._backend, self._inference)
            self._of_thread.backend = backend
            self._of_thread.detector = Detector(backend, self._settings)
        return self._of_thread.backend, self._of_thread.detector


class RecordedAnswers:
    """Detections that lie in the bag beside the images, with the same stamps."""

    def __init__(self, bag: Bag, topics: Sequence[str], detection_topics: Sequence[str]) -> None:
        """
        Read all detections; they are small.

        Args:
            bag: open.
            topics: of images.
            detection_topics: of detections, one for each.

        Raises:
            DataError: the bag lacks a topic, detections cannot be read, or two of them have
                the same stamp.
        """
        bag.require(detection_topics, (DETECTIONS,))
        self.class_names: tuple[str, ...] = ()
        self._where = str(bag.path)
        self._found: dict[tuple[str, int], list[Found]] = {}
        image_topic = dict(zip(detection_topics, topics, strict=True))
        for message in bag.messages(detection_topics):
            if message.content is None:
                raise DataError(f'{bag.path}: {message.topic}: {message.fault}')
            key = image_topic[message.topic], stamp_ns(message.content.header)
            if key in self._found:
                raise DataError(
                    f'{bag.path}: {message.topic} has two messages with the stamp {key[1]} ns, '
                    'so that frames and detections cannot be brought together')
            self._found[key] = found_in(message.content)

    @property
    def names_found(self) -> tuple[str, ...]:
        """The classes of all detections, sorted."""
        return tuple(sorted({name for found in self._found.values() for name, _, _ in found}))

    def answer(self, frame: BagFrame) -> Answer | None:
        """Look up the detections of a frame."""
        size_hw = frame.size_hw()
        found = self._found.get((frame.topic, frame.header_ns))
        if found is None:
            return None
        return Answer(size_hw, detections_of(found, self.class_names, self._where),
                      (_NAN, _NAN, _NAN, _NAN))


def run(bag: Bag, topics: Sequence[str], answers: Answers, journal: Journal, clock: str,
        progress: Progress = iter) -> str:
    """
    Answer every frame that the journal does not have yet.

    Args:
        bag: open.
        topics: of images.
        answers: where detections come from.
        journal: gets a record of each frame.
        clock: see read_frames.
        progress: wraps the records.

    Returns:
        Why the bag could not be read to its end; empty where it could.

    Raises:
        DataError: the journal cannot be written.
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
            except DataError as err:  # what came before it counts
                damage = str(err)
                return
            if frame is None:
                return
            if frame.number >= done:
                yield frame, 1e3 * (time.perf_counter() - started)

    # whatever ends it, nobody is at work any more after this
    with closing(_answered(frames(), answers)) as records:
        for record in progress(records):
            journal.append(record)
    return damage


def _answered(frames: Iterable[tuple[BagFrame, float]], answers: Answers
              ) -> Generator[FrameRecord, None, None]:
    """
    Answer frames, in their order, while others are read and recorded.

    While the network works on one frame, the next one is decoded and resized and the boxes of the
    last one are sorted out, which costs no time then. At most _THREADS + 1 frames are in memory.
    """
    with ThreadPoolExecutor(_THREADS, 'answer') as threads:
        coming: deque[Future[FrameRecord]] = deque()
        try:
            for frame, read_ms in frames:
                coming.append(threads.submit(_record, frame, read_ms, answers))
                if len(coming) > _THREADS:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _record(frame: BagFrame, read_ms: float, answers: Answers) -> FrameRecord:
    try:
        answer = answers.answer(frame)
    except UnsupportedImageError as err:
        return _make(frame, None, UNDECODABLE, str(err))
    except BackendError as err:
        return _make(frame, None, BACKEND_ERROR, str(err))
    if answer is None:
        return _make(frame, None, UNANSWERED, 'no detections were recorded with its stamp')
    return _make(frame, answer, times_ms=(read_ms, *answer.times_ms))


def _make(frame: BagFrame, answer: Answer | None, reason: str = '', error: str = '',
          times_ms: tuple[float, ...] = ()) -> FrameRecord:
    return FrameRecord(
        frame.number, frame.topic, frame.index, frame.stamp_ns, frame.header_ns,
        frame.message.log_ns, frame.frame_id, answer.size_hw if answer else None,
        answer.detections if answer else None, reason, error, times_ms)


def latency_table(records: Sequence[FrameRecord]) -> Any:
    """
    Collect stage times.

    Args:
        records: of a run.

    Returns:
        (F, S) milliseconds of the frames that were answered, in the order of STAGES.
    """
    rows = [record.times_ms for record in records if record.times_ms]
    return np.array(rows, np.float64)
