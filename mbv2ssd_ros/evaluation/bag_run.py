"""Every frame of a bag through a model, or together with the detections that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
import time
from typing import Any, Protocol

import numpy as np

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import BackendError, DataError, UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bag import Bag
from mbv2ssd_ros.evaluation.bag_frames import BagFrame, read_frames, stamp_ns
from mbv2ssd_ros.evaluation.detection_content import detections_of, Found, found_in
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.journal import Journal
from mbv2ssd_ros.evaluation.message_types import DETECTIONS
from mbv2ssd_ros.frames import BACKEND_ERROR, UNDECODABLE

UNANSWERED = 'unanswered'  # no detections were recorded for the frame
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

    def prepare(self, frame: BagFrame) -> Any:
        """Do what can be done while another frame is being answered, in another thread."""

    def answer(self, frame: BagFrame, prepared: Any) -> Answer | None:
        """Detect in a frame; None where there is no answer to it."""


class ModelAnswers:
    """Detections of a model, computed now."""

    def __init__(self, detector: Detector) -> None:
        """
        Take a detector.

        Args:
            detector: ready.
        """
        self._detector = detector
        contract = detector.contract
        self.class_names = contract.object_names
        self._shift = 1 if contract.background_index is None else 0

    def prepare(self, frame: BagFrame) -> tuple[SourceImage, float]:
        """Decode a frame; also say how many milliseconds that took."""
        started = time.perf_counter()
        image = frame.image()
        return image, 1e3 * (time.perf_counter() - started)

    def answer(self, frame: BagFrame, prepared: tuple[SourceImage, float]) -> Answer | None:
        """Detect in a frame."""
        image, decode_ms = prepared
        found = self._detector.detect([image])[0]
        times = self._detector.last_times
        return Answer(
            image.size_hw,
            Detections(found.boxes_xyxy, found.scores, found.labels + self._shift),
            (decode_ms, times.preprocess_ms, times.infer_ms, times.postprocess_ms))


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

    def prepare(self, frame: BagFrame) -> tuple[int, int]:
        """Read the size of a frame."""
        return frame.size_hw()

    def answer(self, frame: BagFrame, prepared: tuple[int, int]) -> Answer | None:
        """Look up the detections of a frame."""
        found = self._found.get((frame.topic, frame.header_ns))
        if found is None:
            return None
        return Answer(prepared, detections_of(found, self.class_names, self._where),
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
    records = _records(bag, topics, answers, clock, len(journal.records))
    damage = ''

    def until_damage() -> Iterator[FrameRecord]:
        nonlocal damage
        while True:
            try:
                record = next(records, None)
            except DataError as err:  # what came before it counts
                damage = str(err)
                return
            if record is None:
                return
            yield record

    with closing(records):  # whatever ends it, nobody reads the bag any more after this
        for record in progress(until_damage()):
            journal.append(record)
    return damage


@dataclass(frozen=True)
class _ReadFrame:
    """A frame, ready to be answered."""

    frame: BagFrame
    prepared: Any
    error: str  # why it could not be prepared
    read_ms: float


def _records(bag: Bag, topics: Sequence[str], answers: Answers, clock: str, done: int
             ) -> Generator[FrameRecord, None, None]:
    frames = read_frames(bag, topics, clock)
    # one frame ahead: reading and decoding then cost no time beside inference
    with ThreadPoolExecutor(1, 'read_bag') as reader:
        try:
            coming = reader.submit(_read, frames, answers, done)
            while (read := coming.result()) is not None:
                coming = reader.submit(_read, frames, answers, done)
                if read.frame.number >= done:
                    yield _record(read, answers)
        finally:
            reader.shutdown(wait=True, cancel_futures=True)


def _read(frames: Iterator[BagFrame], answers: Answers, done: int) -> _ReadFrame | None:
    started = time.perf_counter()
    frame = next(frames, None)
    if frame is None:
        return None
    read_ms = 1e3 * (time.perf_counter() - started)
    if frame.number < done:
        return _ReadFrame(frame, None, '', read_ms)
    try:
        return _ReadFrame(frame, answers.prepare(frame), '', read_ms)
    except UnsupportedImageError as err:
        return _ReadFrame(frame, None, str(err), read_ms)


def _record(read: _ReadFrame, answers: Answers) -> FrameRecord:
    frame = read.frame
    if read.error:
        return _make(frame, None, UNDECODABLE, read.error)
    try:
        answer = answers.answer(frame, read.prepared)
    except BackendError as err:
        return _make(frame, None, BACKEND_ERROR, str(err))
    if answer is None:
        return _make(frame, None, UNANSWERED, 'no detections were recorded with its stamp')
    return _make(frame, answer, times_ms=(read.read_ms, *answer.times_ms))


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
