"""From the records of a bag and its ground truth to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.stamps import stamp_text
from mbv2ssd_ros.evaluation.analysis import analyse, Analysis, Subject
from mbv2ssd_ros.evaluation.bag_run import latency_table
from mbv2ssd_ros.evaluation.frame_record import FrameRecord, STAGES
from mbv2ssd_ros.evaluation.ground_truth import FrameStamp, ground_truth, pair, Truths
from mbv2ssd_ros.evaluation.pairing import Pairing
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_ros.evaluation.spent_time import SpentTime
from mbv2ssd_ros.evaluation.truth_frames import AnnotatedFrame
from mbv2ssd_ros.latency import LatencyWindow, Percentiles

TOTAL = 'total'
MAX_LISTED = 1000  # frames in a list of metrics.json


@dataclass(frozen=True)
class BagEvaluation:
    """One model, or one recording of detections, on one bag."""

    inputs: Mapping[str, Any]  # what ran on what
    subject: Subject
    topics: tuple[str, ...]
    records: tuple[FrameRecord, ...]
    incomplete_because: str  # empty where every frame of the bag has its record
    truths: Truths | None
    tolerance_ms: float
    pairing: Pairing | None
    scored: tuple[int, ...]  # index of the record of each result
    analysis: Analysis | None  # None without ground truth
    spent: SpentTime | None = None  # by the process that returns it; in no file

    @property
    def answered(self) -> int:
        """Frames with detections, or without any object in them."""
        return sum(record.detections is not None for record in self.records)

    def kept(self, record: FrameRecord) -> Detections:
        """
        Choose what the node would publish.

        Args:
            record: of an answered frame.

        Returns:
            The detections that score above the threshold of the subject.
        """
        found = record.detections
        assert found is not None
        rows = found.scores > self.subject.score_threshold
        return Detections(found.boxes_xyxy[rows], found.scores[rows], found.labels[rows])

    def latency(self) -> dict[str, Percentiles]:
        """Percentiles of each stage that took part, and of their sum."""
        return stage_percentiles(latency_table(self.records))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; only those under `latency` differ between two runs."""
        return {
            'complete': not self.incomplete_because,
            'incomplete_because': self.incomplete_because, 'inputs': dict(self.inputs),
            'frames': self._frames(), 'pairing': self._pairing(),
            'accuracy': self.analysis.to_dict() if self.analysis else None,
            'latency': latency_to_dict(latency_table(self.records))}

    def _frames(self) -> dict[str, Any]:
        failed = [record for record in self.records if record.reason]
        return {
            'read': len(self.records), 'answered': self.answered,
            'scored': len(self.scored), 'failed': _by_reason(self.records),
            'by_topic': {topic: self._of_topic(topic) for topic in self.topics},
            'failures': [{'number': record.number, 'topic': record.topic, 'index': record.index,
                          'stamp_ns': record.stamp_ns, 'reason': record.reason,
                          'error': record.error} for record in failed[:MAX_LISTED]]}

    def _of_topic(self, topic: str) -> dict[str, Any]:
        records = [record for record in self.records if record.topic == topic]
        return {'read': len(records),
                'answered': sum(record.detections is not None for record in records),
                'failed': _by_reason(records)}

    def _pairing(self) -> dict[str, Any] | None:
        if self.truths is None or self.pairing is None:
            return None
        alone = [self.records[index] for index in self.pairing.first_alone]
        return {
            'ground_truth': self.truths.name,
            'by': 'index' if self.truths.by_index else 'stamp',
            'tolerance_ms': None if self.truths.by_index else self.tolerance_ms,
            'paired': len(self.pairing.pairs),
            'frames_without_annotation': len(alone),
            'annotations_without_frame': len(self.pairing.second_alone),
            'unpaired_frames': [{'topic': record.topic, 'index': record.index,
                                 'stamp_ns': record.stamp_ns} for record in alone[:MAX_LISTED]],
            'unpaired_annotations': [self.truths.frames[index].name
                                     for index in self.pairing.second_alone[:MAX_LISTED]]}


def stage_percentiles(times_ms: NDArray[np.float64]) -> dict[str, Percentiles]:
    """
    Work out percentiles.

    Args:
        times_ms: (F, S) of STAGES; nan where a stage did not take part.

    Returns:
        Those of each stage that took part, and of the sum of all.
    """
    window = LatencyWindow((*STAGES, TOTAL), max_frames=len(times_ms))
    for row in times_ms:
        window.add((*row, np.nansum(row)))
    return window.take()


def latency_to_dict(times_ms: NDArray[np.float64]) -> dict[str, Any]:
    """
    Write percentiles as plain values.

    Args:
        times_ms: (F, S) of STAGES.

    Returns:
        Values for JSON.
    """
    return {'unit': 'ms', 'frames': len(times_ms), 'stages': {
        stage: {'p50': round(p.p50_ms, 3), 'p95': round(p.p95_ms, 3), 'p99': round(p.p99_ms, 3)}
        for stage, p in stage_percentiles(times_ms).items()}}


def _by_reason(records: Sequence[FrameRecord]) -> dict[str, int]:
    return dict(sorted(Counter(record.reason for record in records if record.reason).items()))


def evaluate(inputs: Mapping[str, Any], subject: Subject, topics: Sequence[str],
             records: Sequence[FrameRecord], incomplete_because: str, truths: Truths | None,
             tolerance_ms: float) -> BagEvaluation:
    """
    Score the records of a bag.

    Frames without an annotation are not scored, nor are annotated frames that were not answered;
    both are counted and listed.

    Args:
        inputs: what ran on what.
        subject: model, bag, classes and thresholds.
        topics: of images.
        records: of the frames, in their order.
        incomplete_because: why frames are missing; empty where none is.
        truths: what is there, if that is known.
        tolerance_ms: by which stamps of a pair may differ.

    Returns:
        The figures; those of a part of the bag where it is incomplete.

    Raises:
        DataError: foreign classes, nothing pairs, or images of another size were annotated.
        ConfigError: faster-coco-eval is not installed.
    """
    found = None
    results: list[ImageResult] = []
    scored: list[int] = []
    if truths is not None:
        truths.refuse_foreign(subject.class_names)
        stamps = [FrameStamp(record.topic, record.index, record.stamp_ns) for record in records]
        found = pair(truths, stamps, topics, round(tolerance_ms * 1e6))
        for frame, truth in found.pairs:
            record, annotated = records[frame], truths.frames[truth]
            if record.detections is not None and record.size_hw is not None:
                _same_size(record, annotated, truths.source)
                scored.append(frame)
                results.append(ImageResult(
                    len(results), name_of(record, topics), record.size_hw, record.detections,
                    ground_truth(annotated, subject.class_names)))
    return BagEvaluation(
        inputs, subject, tuple(topics), tuple(records), incomplete_because, truths, tolerance_ms,
        found, tuple(scored), analyse(subject, results) if results else None)


def _same_size(record: FrameRecord, annotated: AnnotatedFrame, source: str) -> None:
    """Boxes of a resized copy would lie elsewhere, and only look like a bad detector."""
    if annotated.size_hw and record.size_hw and annotated.size_hw != record.size_hw:
        (height, width), (frame_height, frame_width) = annotated.size_hw, record.size_hw
        raise DataError(
            f'{source}: {annotated.name} is annotated at {width} x {height} pixels, its frame '
            f'has {frame_width} x {frame_height}; annotate images of the size that was recorded')


def name_of(record: FrameRecord, topics: Sequence[str]) -> str:
    """
    Name a frame for people.

    Args:
        record: of the frame.
        topics: that are read; with several, the name says which.

    Returns:
        Stamp and number.
    """
    stamp = stamp_text(record.stamp_ns)
    return f'{record.topic} {stamp}' if len(topics) > 1 else f'{stamp} (frame {record.index})'
