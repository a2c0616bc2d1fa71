"""All figures of one split, for the JSON file and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
import gc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.metrics import mean_ap, mean_ap_11point, PrecisionRecall
from mbv2ssd_ros.evaluation.coco import coco_figures, CocoFigures, none_for_nan
from mbv2ssd_ros.evaluation.confusion import confusion_matrix
from mbv2ssd_ros.evaluation.matching import MATCH_IOU, match_results, Matches, NEAR_IOU
from mbv2ssd_ros.evaluation.mistakes import break_down, Mistakes
from mbv2ssd_ros.evaluation.operating_point import best_point, OperatingPoint, point_at, pooled
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_ros.evaluation.scores import BINS, score_bins, ScoreBins
from mbv2ssd_ros.evaluation.sizes import recall_by_pixels, recall_by_share, SizeBucket
from mbv2ssd_ros.evaluation.worst import BADNESS, worst_images, WorstImage


@dataclass(frozen=True)
class Subject:
    """Which model was measured on which data, and how."""

    model: str  # file name
    split: str  # of the data
    class_names: tuple[str, ...]  # label k is class_names[k - 1]
    curve_threshold: float  # score from which detections were kept for the curves
    score_threshold: float  # of the operating point: what the detector would keep

    def __post_init__(self) -> None:
        if not self.curve_threshold <= self.score_threshold <= 1:
            raise ConfigError(
                f'the operating point has a score threshold of {self.score_threshold}, expected '
                f'one from {self.curve_threshold} (detections below it were not kept) to 1')


@dataclass(frozen=True)
class ScopeFigures:
    """The figures of one class, or of all together."""

    curve: PrecisionRecall
    chosen: OperatingPoint  # at the score threshold of the subject
    best: OperatingPoint | None  # at the highest F1
    scores: ScoreBins
    sizes_px: tuple[SizeBucket, ...]
    sizes_share: tuple[SizeBucket, ...]


@dataclass(frozen=True)
class Analysis:
    """All figures; `eval --json` and the report are two views of them."""

    subject: Subject
    results: tuple[ImageResult, ...]
    matches: Matches
    overall: ScopeFigures  # detections of all classes pooled
    classes: dict[int, ScopeFigures]  # by label
    confusion: NDArray[np.int64]  # (C + 1, C + 1), see confusion_matrix
    mistakes: tuple[Mistakes, ...]
    worst: tuple[WorstImage, ...]
    coco: CocoFigures

    @property
    def map_50(self) -> float:
        """mAP at IoU 0.5 as VOC has it since 2010: area under the curve."""
        return mean_ap({label: item.curve for label, item in self.classes.items()})

    @property
    def map_50_11point(self) -> float:
        """mAP at IoU 0.5 as VOC2007 had it: eleven points."""
        return mean_ap_11point({label: item.curve for label, item in self.classes.items()})

    @property
    def scopes(self) -> dict[int, ScopeFigures]:
        """All classes together as label 0, then each class."""
        return {0: self.overall, **self.classes}

    def name(self, label: int) -> str:
        """Return the name of a class by its 1-based label."""
        return self.subject.class_names[label - 1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; each group of figures names its split."""
        subject, split = self.subject, {'split': self.subject.split}
        return {
            'model': subject.model, **split, 'images': len(self.results),
            'classes': list(subject.class_names), 'match_iou': MATCH_IOU,
            'curve_threshold': subject.curve_threshold,
            'score_threshold': subject.score_threshold,
            'map_50': none_for_nan(self.map_50),
            'map_50_11point': none_for_nan(self.map_50_11point),
            'ap_50': {self.name(label): none_for_nan(item.curve.average_precision)
                      for label, item in self.classes.items()},
            'objects': {self.name(label): item.curve.num_objects
                        for label, item in self.classes.items()},
            'coco': {**split, **self.coco.to_dict(subject.class_names)},
            'overall': {**split, **_scope_to_dict(self.overall)},
            'per_class': {self.name(label): {**split, **_scope_to_dict(item)}
                          for label, item in self.classes.items()},
            'confusion': {**split, 'score_threshold': subject.score_threshold,
                          'rows_are_objects_of': ['background', *subject.class_names],
                          'columns_are_detections_of': ['background', *subject.class_names],
                          'counts': self.confusion.tolist()},
            'mistakes': {**split, 'near_iou': NEAR_IOU,
                         'score_threshold_of_counts': subject.score_threshold,
                         'kinds': [self._mistakes_to_dict(kind) for kind in self.mistakes]},
            'worst_images': {**split, 'measure': BADNESS, 'images': [
                {'name': self.results[item.image].name, 'missed': item.missed,
                 'false': item.false, 'badness': round(item.badness, 4)}
                for item in self.worst]}}

    def _mistakes_to_dict(self, kind: Mistakes) -> dict[str, Any]:
        return {
            'kind': kind.name, 'count': kind.count, 'map_50_gain': none_for_nan(kind.map_gain),
            'count_of_class': {self.name(label): count for label, count in kind.counts.items()},
            'ap_50_gain_of_class': {self.name(label): none_for_nan(gain)
                                    for label, gain in kind.ap_gains.items()}}


def analyse(subject: Subject, results: Sequence[ImageResult]) -> Analysis:
    """
    Measure everything on results that were detected with the subject's `curve_threshold`.

    ConfigError: faster-coco-eval is not installed.
    """
    # a third of COCO's work runs without Python's lock
    with _without_collections(), ThreadPoolExecutor(1) as in_parallel:
        coco = in_parallel.submit(coco_figures, results, subject.class_names)
        matches = match_results(results, len(subject.class_names))
        curves, threshold = matches.curves(), subject.score_threshold
        return Analysis(
            subject=subject, results=tuple(results), matches=matches,
            overall=_scope(matches, pooled(curves.values()), None, threshold),
            classes={label: _scope(matches, curve, label, threshold)
                     for label, curve in curves.items()},
            confusion=confusion_matrix(results, matches, threshold),
            mistakes=break_down(matches, threshold),
            worst=tuple(worst_images(matches, len(results), threshold)), coco=coco.result())


@contextmanager
def _without_collections() -> Iterator[None]:
    """Switch garbage collection off: hundreds of thousands of small objects form no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _scope(matches: Matches, curve: PrecisionRecall, label: int | None, threshold: float
           ) -> ScopeFigures:
    return ScopeFigures(
        curve=curve, chosen=point_at(curve, threshold), best=best_point(curve),
        scores=score_bins(curve), sizes_px=recall_by_pixels(matches, threshold, label),
        sizes_share=recall_by_share(matches, threshold, label))


def _scope_to_dict(scope: ScopeFigures) -> dict[str, Any]:
    return {
        'at_score_threshold': scope.chosen.to_dict(),
        'at_best_f1': scope.best.to_dict() if scope.best else None,
        'curve': _curve_to_dict(scope.curve),
        'recall_by_size_px': [bucket.to_dict() for bucket in scope.sizes_px],
        'recall_by_size_share': [bucket.to_dict() for bucket in scope.sizes_share],
        'scores': {'bins_from_0_to_1': BINS,
                   'correct': scope.scores.correct.tolist(),
                   'false': scope.scores.false.tolist(),
                   'calibration_error': none_for_nan(scope.scores.calibration_error)}}


def _curve_to_dict(curve: PrecisionRecall) -> dict[str, list[float]]:
    rows = curve_rows(curve)
    return {'score': np.round(curve.scores[rows], 4).tolist(),
            'recall': np.round(curve.recall[rows], 4).tolist(),
            'precision': np.round(curve.precision[rows], 4).tolist()}


def curve_rows(curve: PrecisionRecall, most: int = 200) -> NDArray[np.intp]:
    """
    Choose about `most` points of a curve to write or draw.

    Returns rows at equal steps along the recall, and the first and last; none without objects.
    """
    if curve.num_objects == 0 or len(curve.scores) == 0:
        return np.zeros(0, np.intp)
    recall = curve.recall
    steps = np.searchsorted(recall, np.linspace(0, recall[-1], most), side='left')
    rows: NDArray[np.intp] = np.unique([0, *steps, len(recall) - 1])
    return rows
