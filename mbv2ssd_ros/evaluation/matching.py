"""
All detections and objects of an evaluation in flat arrays, matched and classified.

A false detection is classified by its main mistake as TIDE does (Bolya et al., arXiv:2008.08115),
with its thresholds 0.5 and 0.1, by the first of these that holds:

- duplicate: it is on an object of its class (IoU from 0.5) that a better detection has taken;
- localisation: it is near an object of its class (IoU from 0.1);
- classification: it is on an object of another class (IoU from 0.5);
- both: it is near an object of another class (IoU from 0.1);
- background: no object is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import box_area, iou_matrix
from mbv2ssd_ros.core.metrics import (
    curves_by_label,
    ImageMatch,
    match_image,
    PrecisionRecall,
)
from mbv2ssd_ros.evaluation.results import ImageResult

MATCH_IOU = 0.5  # from which a detection is on an object
NEAR_IOU = 0.1  # from which it is near one

# of each detection of an image: IoU with the object, and the object, -1 for none
_Nearest = tuple[NDArray[np.float64], NDArray[np.intp]]


class Kind(IntEnum):
    """How a detection is classified."""

    CORRECT = 0
    DUPLICATE = 1
    LOCALISATION = 2
    CLASSIFICATION = 3
    BOTH = 4
    BACKGROUND = 5
    IGNORED = 6  # on a difficult object of its class: counts neither way


MISTAKES = (Kind.DUPLICATE, Kind.LOCALISATION, Kind.CLASSIFICATION, Kind.BOTH, Kind.BACKGROUND)


@dataclass(frozen=True)
class FoundTable:
    """All D detections, image by image in the order of the data."""

    images: NDArray[np.intp]  # (D,) index of the result
    labels: NDArray[np.intp]  # (D,)
    scores: NDArray[np.float64]  # (D,)
    kinds: NDArray[np.uint8]  # (D,) of Kind
    objects: NDArray[np.intp]  # (D,) row of the object that decided the kind, -1 for none

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(D,) whether it is right."""
        return self.kinds == Kind.CORRECT

    @property
    def counts(self) -> NDArray[np.bool_]:
        """(D,) whether it counts as right or false."""
        return self.kinds != Kind.IGNORED


@dataclass(frozen=True)
class ObjectTable:
    """All M objects, image by image in the order of the data."""

    images: NDArray[np.intp]  # (M,) index of the result
    labels: NDArray[np.intp]  # (M,)
    difficult: NDArray[np.bool_]  # (M,)
    areas_px: NDArray[np.float64]  # (M,) of the boxes, in pixels of the original image
    image_shares: NDArray[np.float64]  # (M,) of the area of the image
    found_at: NDArray[np.float64]  # (M,) score of the right detection, -1 where there is none


@dataclass(frozen=True)
class Matches:
    """An evaluation, matched at IoU 0.5."""

    found: FoundTable
    objects: ObjectTable
    labels: tuple[int, ...]  # the classes measured: 1 to the number of classes

    def curves(self, objects: NDArray[np.bool_] | None = None) -> dict[int, PrecisionRecall]:
        """Return the curve of each class over some objects (M,); None: all but difficult ones."""
        found, chosen = self.found, ~self.objects.difficult if objects is None else objects
        return curves_by_label(
            found.scores[found.counts], found.correct[found.counts], found.labels[found.counts],
            self.objects.labels[chosen], self.labels)


def match_results(results: Sequence[ImageResult], num_classes: int) -> Matches:
    """Match all images."""
    counts = [len(result.truth.labels) for result in results]
    matches = [match_image(result.detections, result.truth, MATCH_IOU) for result in results]
    others = [_nearest_of_another_class(result) for result in results]
    images = _image_column([len(result.detections) for result in results])
    first_object = np.cumsum([0, *counts])[images]  # of the image of each detection
    kinds, about = _kinds(matches, others)
    found = FoundTable(
        images=images, kinds=kinds,
        labels=_column([result.detections.labels for result in results], np.intp),
        scores=_column([result.detections.scores for result in results], np.float64),
        objects=np.where(about >= 0, about + first_object, -1))
    return Matches(found, _objects(results, found), tuple(range(1, num_classes + 1)))


def _objects(results: Sequence[ImageResult], found: FoundTable) -> ObjectTable:
    areas = [box_area(result.truth.boxes_xyxy.astype(np.float64)) for result in results]
    shares = [area / (result.size_hw[0] * result.size_hw[1])
              for area, result in zip(areas, results, strict=True)]
    images = _image_column([len(result.truth.labels) for result in results])
    found_at = np.full(len(images), -1.0)
    found_at[found.objects[found.correct]] = found.scores[found.correct]
    return ObjectTable(
        images=images, found_at=found_at,
        labels=_column([result.truth.labels for result in results], np.intp),
        difficult=_column([result.truth.difficult for result in results], np.bool_),
        areas_px=_column(areas, np.float64), image_shares=_column(shares, np.float64))


def _kinds(matches: Sequence[ImageMatch], others: Sequence[_Nearest]
           ) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """(D,) kinds of all detections, and the objects that decided them, by place in the image."""
    correct = _column([match.correct for match in matches], np.bool_)
    counts = _column([match.counts for match in matches], np.bool_)
    own = _column([match.overlaps for match in matches], np.float64)
    own_object = _column([match.objects for match in matches], np.intp)
    other = _column([overlap for overlap, _ in others], np.float64)
    other_object = _column([nearest for _, nearest in others], np.intp)
    kinds = np.select(
        [correct, ~counts, own >= MATCH_IOU, own >= NEAR_IOU, other >= MATCH_IOU,
         other >= NEAR_IOU],
        [Kind.CORRECT, Kind.IGNORED, Kind.DUPLICATE, Kind.LOCALISATION, Kind.CLASSIFICATION,
         Kind.BOTH], Kind.BACKGROUND).astype(np.uint8)
    return kinds, np.select(
        [own >= NEAR_IOU, other >= NEAR_IOU], [own_object, other_object], -1)


def _nearest_of_another_class(result: ImageResult) -> _Nearest:
    detections, truth = result.detections, result.truth
    count = len(detections)
    if count == 0 or len(truth.labels) == 0:
        return np.zeros(count), np.full(count, -1)
    overlap = iou_matrix(detections.boxes_xyxy.astype(np.float64),
                         truth.boxes_xyxy.astype(np.float64))  # (D, N)
    overlap[detections.labels[:, None] == truth.labels] = 0
    best = overlap.argmax(axis=1)
    return overlap[np.arange(count), best], best


def _image_column(counts: Sequence[int]) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(counts)), counts)


def _column(parts: Sequence[NDArray], dtype: type) -> NDArray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)
