"""
Average precision as the PASCAL VOC devkit measures it.

A detection is right when its IoU with a ground truth of its class and image reaches the match
threshold and no better detection has taken that one. Objects marked `difficult` count neither
way: they are not missed, and a detection on one of them is left out.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010; the area under
the curve as from VOC2010 on, the 11-point mean as until VOC2007.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import iou_matrix
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import ShapeError


@dataclass(frozen=True)
class GroundTruth:
    """The annotated objects of one image, in the same coordinates as its detections."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    labels: NDArray[np.intp]  # (N,)
    difficult: NDArray[np.bool_]  # (N,)

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.boxes_xyxy.shape != (count, 4) or self.difficult.shape != (count,):
            raise ShapeError(
                f'ground truth with {count} labels needs boxes ({count}, 4) and difficult '
                f'({count},), found {self.boxes_xyxy.shape} and {self.difficult.shape}')


@dataclass(frozen=True)
class PrecisionRecall:
    """One class's detections over all images, by descending score."""

    scores: NDArray[np.float64]  # (D,)
    correct: NDArray[np.bool_]  # (D,)
    num_objects: int  # ground truths that are not difficult

    @property
    def precision(self) -> NDArray[np.float64]:
        """(D,) share of correct detections among the first 1, 2, ... D."""
        return np.cumsum(self.correct) / np.arange(1, len(self.correct) + 1)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(D,) share of objects found by the first 1, 2, ... D detections."""
        return np.cumsum(self.correct) / max(self.num_objects, 1)

    @property
    def average_precision(self) -> float:
        """Area under the curve of precision made monotone; nan for a class without objects."""
        if self.num_objects == 0:
            return float('nan')
        precision = np.concatenate([self.precision, [0.0]])
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        recall = np.concatenate([[0.0], self.recall])
        return float(np.sum(np.diff(recall) * precision[:-1]))

    @property
    def average_precision_11point(self) -> float:
        """Mean of the best precision at recall 0, 0.1, ... 1; nan for a class without objects."""
        if self.num_objects == 0:
            return float('nan')
        precision, recall = self.precision, self.recall
        # counted in tenths: 3 * 0.1 > 0.3, which would lose a point at exactly that recall
        reached = (precision[recall * 10 >= tenth - 1e-9] for tenth in range(11))
        return float(np.mean([best.max() if len(best) else 0.0 for best in reached]))


def precision_recall(results: Iterable[tuple[Detections, GroundTruth]],
                     labels: Sequence[int], match_iou: float = 0.5
                     ) -> dict[int, PrecisionRecall]:
    """
    Match the detections of all images with their ground truth.

    Args:
        results: one pair for each image, its detections in any order (those of other detectors
            need not be sorted). The order given decides only between equal scores.
        labels: the classes to measure.
        match_iou: IoU from which a detection counts as found.

    Returns:
        The curve of each label.
    """
    scores: dict[int, list[NDArray[np.float32]]] = {label: [] for label in labels}
    correct: dict[int, list[NDArray[np.bool_]]] = {label: [] for label in labels}
    num_objects = dict.fromkeys(labels, 0)
    for detections, truth in results:
        best_first = np.argsort(-detections.scores, kind='stable')
        for label in labels:
            found = best_first[detections.labels[best_first] == label]
            objects = truth.labels == label
            difficult = truth.difficult[objects]
            num_objects[label] += int(np.count_nonzero(~difficult))
            if len(found) == 0:
                continue
            right, counts = _match(
                detections.boxes_xyxy[found], truth.boxes_xyxy[objects], difficult, match_iou)
            scores[label].append(detections.scores[found][counts])
            correct[label].append(right[counts])
    return {label: _sorted_curve(scores[label], correct[label], num_objects[label])
            for label in labels}


def mean_ap(curves: Mapping[int, PrecisionRecall]) -> float:
    """
    mAP by area, over the classes that have objects.

    Args:
        curves: from precision_recall.

    Returns:
        mAP in [0, 1]; nan where no class has an object.
    """
    return _mean(c.average_precision for c in curves.values() if c.num_objects)


def mean_ap_11point(curves: Mapping[int, PrecisionRecall]) -> float:
    """
    mAP by the eleven points of VOC2007, over the classes that have objects.

    Args:
        curves: from precision_recall.

    Returns:
        mAP in [0, 1]; nan where no class has an object.
    """
    return _mean(c.average_precision_11point for c in curves.values() if c.num_objects)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float('nan')


def _match(boxes: NDArray[np.float32], objects: NDArray[np.float32],
           difficult: NDArray[np.bool_], match_iou: float
           ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """
    Match one class in one image; boxes come by descending score.

    Each detection looks at the object it overlaps most, taken or not, as the devkit does.

    Returns:
        For each detection: is it right, and does it count at all.
    """
    right, counts = np.zeros(len(boxes), dtype=bool), np.ones(len(boxes), dtype=bool)
    if len(objects) == 0:
        return right, counts
    overlap = iou_matrix(boxes.astype(np.float64), objects.astype(np.float64))
    taken = np.zeros(len(objects), dtype=bool)
    for index, best in enumerate(overlap.argmax(axis=1)):
        if overlap[index, best] < match_iou:
            continue
        if difficult[best]:
            counts[index] = False
        elif not taken[best]:
            right[index] = taken[best] = True
    return right, counts


def _sorted_curve(scores: list[NDArray[np.float32]], correct: list[NDArray[np.bool_]],
                  num_objects: int) -> PrecisionRecall:
    all_scores = np.concatenate([np.empty(0), *scores])
    all_correct = np.concatenate([np.empty(0, dtype=bool), *correct])
    order = np.argsort(-all_scores, kind='stable')
    return PrecisionRecall(all_scores[order], all_correct[order], num_objects)
