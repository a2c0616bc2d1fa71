"""Precision, recall and F1 of a detector that keeps what scores above a threshold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mbv2ssd_ros.core.metrics import PrecisionRecall
from mbv2ssd_ros.evaluation.coco import none_for_nan


@dataclass(frozen=True)
class OperatingPoint:
    """Counts of one class, or of all together, at a score threshold."""

    score_threshold: float  # scores above it count, as in the detector node
    correct: int
    false: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the detections that are right; nan without any detection."""
        return _ratio(self.correct, self.correct + self.false)

    @property
    def recall(self) -> float:
        """Share of the objects that are found; nan without any object."""
        return _ratio(self.correct, self.correct + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both; nan where there is neither object nor detection."""
        return _ratio(2 * self.correct, 2 * self.correct + self.false + self.missed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, None for nan."""
        return {'score_threshold': self.score_threshold, 'correct': self.correct,
                'false': self.false, 'missed': self.missed,
                'precision': none_for_nan(self.precision), 'recall': none_for_nan(self.recall),
                'f1': none_for_nan(self.f1)}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float('nan')


def point_at(curve: PrecisionRecall, score_threshold: float) -> OperatingPoint:
    """
    Count the detections with scores above a threshold.

    Equal to what a run with this threshold would give: detections below it take no object from
    those above, neither in NMS nor in matching.
    """
    kept = int(np.count_nonzero(curve.scores > score_threshold))
    correct = int(np.count_nonzero(curve.correct[:kept]))
    return OperatingPoint(score_threshold, correct, kept - correct, curve.num_objects - correct)


def best_point(curve: PrecisionRecall) -> OperatingPoint | None:
    """
    Find the threshold of the highest F1; of several equal ones the highest threshold.

    It is in the middle between the last score that counts and the next lower one, so that
    rounding it changes nothing. None without objects or right detections.
    """
    if curve.num_objects == 0 or not curve.correct.any():
        return None
    kept = np.arange(1, len(curve.scores) + 1)
    f1 = 2 * np.cumsum(curve.correct) / (kept + curve.num_objects)
    after = np.append(curve.scores[1:], 0.0)
    f1[curve.scores == after] = -1  # no threshold separates equal scores
    best = int(f1.argmax())
    return point_at(curve, float(curve.scores[best] + after[best]) / 2)


def pooled(curves: Iterable[PrecisionRecall]) -> PrecisionRecall:
    """Pool the curves of all classes; those with many objects weigh more."""
    found = list(curves)
    scores = np.concatenate([np.empty(0), *(curve.scores for curve in found)])
    correct = np.concatenate([np.empty(0, bool), *(curve.correct for curve in found)])
    order = np.argsort(-scores, kind='stable')
    return PrecisionRecall(
        scores[order], correct[order], sum(curve.num_objects for curve in found))
