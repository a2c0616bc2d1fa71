"""
Average precision as the PASCAL VOC devkit measures it.

A detection is correct when its IoU with a ground truth of its class and image reaches the match
threshold and no better detection has taken that one. `difficult` objects do not count: they
are not missed, and a detection on one of them is ignored. COCO's `iscrowd` objects are treated
as difficult ones here; mbv2ssd_ros/evaluation/coco.py has COCO's own rule.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010; the area under
the curve as from VOC2010 on, the 11-point mean as until VOC2007.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class ImageMatch:
    """How the detections of one image match, in the order of the detections."""

    correct: NDArray[np.bool_]  # (D,)
    counts: NDArray[np.bool_]  # (D,) False for a detection on a difficult object
    objects: NDArray[np.intp]  # (D,) the object of its class that it overlaps most, or -1
    overlaps: NDArray[np.float64]  # (D,) IoU with that object


def precision_recall(results: Iterable[tuple[Detections, GroundTruth]],
                     labels: Sequence[int], match_iou: float = 0.5
                     ) -> dict[int, PrecisionRecall]:
    """
    Match the detections of all images with their ground truth; one curve a label.

    The order of an image's detections decides only between equal scores. match_iou is the IoU
    from which a detection counts as found.
    """
    scores, correct, kinds, objects = [], [], [], []
    for detections, truth in results:
        match = match_image(detections, truth, match_iou)
        scores.append(detections.scores[match.counts])
        correct.append(match.correct[match.counts])
        kinds.append(detections.labels[match.counts])
        objects.append(truth.labels[~truth.difficult])
    return curves_by_label(
        np.concatenate([np.empty(0), *scores]), np.concatenate([np.empty(0, bool), *correct]),
        np.concatenate([np.empty(0, np.intp), *kinds]),
        np.concatenate([np.empty(0, np.intp), *objects]), labels)


def match_image(detections: Detections, truth: GroundTruth, match_iou: float = 0.5) -> ImageMatch:
    """
    Match the detections of one image, in any order, with its objects of the same class.

    As in the devkit, each detection is compared with the object of its class that it overlaps
    most, taken or not; the best detection with an IoU of at least match_iou takes it.
    """
    count = len(detections)
    correct, counts = np.zeros(count, bool), np.ones(count, bool)
    if count == 0 or len(truth.labels) == 0:
        return ImageMatch(correct, counts, np.full(count, -1), np.zeros(count))
    overlap = iou_matrix(
        detections.boxes_xyxy.astype(np.float64), truth.boxes_xyxy.astype(np.float64))  # (D, N)
    overlap[detections.labels[:, None] != truth.labels] = -1
    best = overlap.argmax(axis=1)
    overlaps = overlap[np.arange(count), best]
    reached = overlaps >= match_iou
    counts[reached & truth.difficult[best]] = False
    best_first = np.argsort(-detections.scores, kind='stable')
    takers = best_first[(reached & counts)[best_first]]
    correct[takers[np.unique(best[takers], return_index=True)[1]]] = True
    return ImageMatch(
        correct, counts, np.where(overlaps >= 0, best, -1), np.maximum(overlaps, 0))


def curves_by_label(scores: NDArray[Any], correct: NDArray[np.bool_],
                    kinds: NDArray[np.intp], objects: NDArray[np.intp], labels: Sequence[int]
                    ) -> dict[int, PrecisionRecall]:
    """
    Sort matched detections into one curve for each class.

    scores, correct and kinds (their labels) are (D,) over the detections that count in all images;
    objects (M,) are the labels of the objects that are not difficult.
    """
    order = np.argsort(-scores, kind='stable')
    scores, correct, kinds = scores[order].astype(np.float64), correct[order], kinds[order]
    curves = {}
    for label in labels:
        chosen = kinds == label
        curves[label] = PrecisionRecall(
            scores[chosen], correct[chosen], int(np.count_nonzero(objects == label)))
    return curves


def mean_ap(curves: Mapping[int, PrecisionRecall]) -> float:
    """mAP by area in [0, 1], over the classes with objects; nan without any."""
    return _mean(c.average_precision for c in curves.values() if c.num_objects)


def mean_ap_11point(curves: Mapping[int, PrecisionRecall]) -> float:
    """mAP by the eleven points of VOC2007, over the classes with objects; nan without any."""
    return _mean(c.average_precision_11point for c in curves.values() if c.num_objects)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float('nan')
