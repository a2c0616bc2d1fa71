"""From the records of a bag and its ground truth to figures; the time they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.stamps import stamp_text
from mbv2ssd_ros.evaluation.analysis import analyse, Analysis, Subject
from mbv2ssd_ros.evaluation.frame_record import FrameRecord, STAGES
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_ros.evaluation.runs.baseline import truth_checksum
from mbv2ssd_ros.evaluation.runs.run import latency_table
from mbv2ssd_ros.evaluation.truth.frames import AnnotatedFrame
from mbv2ssd_ros.evaluation.truth.ground_truth import AnnotatedFrames, ground_truth, pair
from mbv2ssd_ros.evaluation.truth.pairing import Pairing
from mbv2ssd_ros.latency import LatencyWindow, Percentiles

TOTAL = 'total'
MAX_LISTED = 1000  # frames in a list of metrics.json
_INFER = STAGES.index('infer')


@dataclass(frozen=True)
class SpentTime:
    """Wall time in seconds, one phase after the other; inference is part of the frames."""

    start_s: float  # opening bag, ground truth and model
    frames_s: float  # from the first frame to the last
    inference_s: float  # the network alone
    scoring_s: float
    files_s: float  # report, detections, tables

    def __str__(self) -> str:
        more_s = max(0.0, self.frames_s - self.inference_s) + self.scoring_s
        rest = f'report and files {self.files_s:.1f} s, start {self.start_s:.1f} s'
        if not self.inference_s:
            return f'reading and scoring {more_s:.1f} s, {rest}'
        return (f'inference {self.inference_s:.1f} s; reading and scoring {more_s:.1f} s more '
                f'({100 * more_s / self.inference_s:.1f} %), {rest}')


def inference_s(records: Sequence[FrameRecord]) -> float:
    """Sum up the seconds of the network; 0 for detections that had been recorded."""
    times_ms = (record.times_ms[_INFER] for record in records if record.times_ms)
    return 1e-3 * sum(t for t in times_ms if not math.isnan(t))


@dataclass(frozen=True)
class BagEvaluation:
    """One model, or one recording of detections, on one bag."""

    inputs: Mapping[str, Any]  # everything that the detections depend on
    subject: Subject
    topics: tuple[str, ...]  # of images
    records: tuple[FrameRecord, ...]
    incomplete_because: str  # empty where every frame of the bag has its record
    annotated: AnnotatedFrames | None
    tolerance_ms: float  # between the stamps of a pair
    pairing: Pairing | None  # of records and annotated frames
    scored: tuple[int, ...]  # index of the record of each result
    analysis: Analysis | None  # None without ground truth
    spent: SpentTime | None = None  # by the process that returns it; not in the files

    @property
    def answered(self) -> int:
        """Frames that were processed, also those in which nothing was detected."""
        return sum(record.detections is not None for record in self.records)

    def kept(self, record: FrameRecord) -> Detections:
        """Return the detections of a frame that the node would publish."""
        found = record.detections
        assert found is not None
        rows = found.scores > self.subject.score_threshold
        return Detections(found.boxes_xyxy[rows], found.scores[rows], found.labels[rows])

    def detected(self) -> dict[str, int]:
        """Count the detections that the node would publish, by class, most frequent first."""
        labels = Counter(label for record in self.records if record.detections is not None
                         for label in self.kept(record).labels.tolist())
        return {self.subject.class_names[label - 1]: count
                for label, count in labels.most_common()}

    def latency(self) -> dict[str, Percentiles]:
        """Return the percentiles of each stage that ran, and of their sum."""
        return stage_percentiles(latency_table(self.records))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; only those under `latency` differ between two runs."""
        return {
            'complete': not self.incomplete_because,
            'incomplete_because': self.incomplete_because, 'inputs': dict(self.inputs),
            'frames': self._frames(), 'pairing': self._pairing(),
            'accuracy': self.analysis.to_dict() if self.analysis else None,
            'truth_checksum': truth_checksum(self.analysis.results) if self.analysis else None,
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
        if self.annotated is None or self.pairing is None:
            return None
        by_index = self.annotated.by_index
        unpaired = [self.records[index] for index in self.pairing.unpaired_first]
        return {
            'ground_truth': self.annotated.name,
            'by': 'index' if by_index else 'stamp',
            'tolerance_ms': None if by_index else self.tolerance_ms,
            'paired': len(self.pairing.pairs),
            'frames_without_annotation': len(unpaired),
            'annotations_without_frame': len(self.pairing.unpaired_second),
            'unpaired_frames': [
                {'topic': record.topic, 'index': record.index, 'stamp_ns': record.stamp_ns}
                for record in unpaired[:MAX_LISTED]],
            'unpaired_annotations': [self.annotated.frames[index].name
                                     for index in self.pairing.unpaired_second[:MAX_LISTED]]}


def stage_percentiles(times_ms: NDArray[np.float64]) -> dict[str, Percentiles]:
    """
    Return the percentiles of each stage that ran, and of the sum of all.

    times_ms is (F, S) of STAGES, nan for a stage that did not run.
    """
    window = LatencyWindow((*STAGES, TOTAL), max_frames=len(times_ms))
    for row in times_ms:
        window.add((*row, np.nansum(row)))
    return window.take()


def latency_to_dict(times_ms: NDArray[np.float64]) -> dict[str, Any]:
    """Return the percentiles of (F, S) milliseconds as plain values for JSON."""
    return {'unit': 'ms', 'frames': len(times_ms), 'stages': {
        stage: {'p50': round(p.p50_ms, 3), 'p95': round(p.p95_ms, 3), 'p99': round(p.p99_ms, 3)}
        for stage, p in stage_percentiles(times_ms).items()}}


def _by_reason(records: Sequence[FrameRecord]) -> dict[str, int]:
    return dict(sorted(Counter(record.reason for record in records if record.reason).items()))


def evaluate(inputs: Mapping[str, Any], subject: Subject, topics: Sequence[str],
             records: Sequence[FrameRecord], incomplete_because: str,
             annotated: AnnotatedFrames | None, tolerance_ms: float) -> BagEvaluation:
    """
    Score the records of a bag, given in their order; see BagEvaluation for the arguments.

    Frames without an annotation are not scored, nor are annotated frames without detections; both
    are counted and listed.

    DataError: unknown classes, nothing pairs, or images of another size were annotated.
    ConfigError: faster-coco-eval is not installed.
    """
    pairing = None
    results: list[ImageResult] = []
    scored: list[int] = []
    if annotated is not None:
        annotated.require_classes(subject.class_names)
        pairing = pair(annotated, records, topics, round(tolerance_ms * 1e6))
        for index, truth_index in pairing.pairs:
            record, truth = records[index], annotated.frames[truth_index]
            if record.detections is not None and record.size_hw is not None:
                _require_same_size(truth, record.size_hw, annotated.source)
                scored.append(index)
                results.append(ImageResult(
                    len(results), name_of(record, topics), record.size_hw, record.detections,
                    ground_truth(truth, subject.class_names)))
    return BagEvaluation(
        inputs=inputs, subject=subject, topics=tuple(topics), records=tuple(records),
        incomplete_because=incomplete_because, annotated=annotated, tolerance_ms=tolerance_ms,
        pairing=pairing, scored=tuple(scored),
        analysis=analyse(subject, results) if results else None)


def _require_same_size(truth: AnnotatedFrame, size_hw: tuple[int, int], source: str) -> None:
    """Refuse boxes of a resized copy, which would only look like a bad detector."""
    if truth.size_hw and truth.size_hw != size_hw:
        (height, width), (frame_height, frame_width) = truth.size_hw, size_hw
        raise DataError(
            f'{source}: {truth.name} is annotated at {width} x {height} pixels, its frame '
            f'has {frame_width} x {frame_height}; annotate images of the size that was recorded')


def name_of(record: FrameRecord, topics: Sequence[str]) -> str:
    """Name a frame for display, with its topic where several are read."""
    stamp = stamp_text(record.stamp_ns)
    return f'{record.topic} {stamp}' if len(topics) > 1 else f'{stamp} (frame {record.index})'
