"""Which classes are confused with which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import iou_matrix
from mbv2ssd_ros.evaluation.matching import MATCH_IOU, Matches
from mbv2ssd_ros.evaluation.results import ImageResult


def confusion_matrix(results: Sequence[ImageResult], matches: Matches, score_threshold: float
                     ) -> NDArray[np.int64]:
    """
    Count objects by their class and the class they were found as.

    At IoU 0.5, with detections that score above the threshold. Right detections take their
    objects first, so the diagonal has the same counts as precision and recall. The others, best
    first, take the free object that they overlap most.

    Returns:
        (C + 1, C + 1): objects by row, detections by column, by label. Row 0 has detections that
        took no object (duplicates too), column 0 the objects that were not found. A row thus sums
        up to the objects of its class that are not difficult, a column to the detections of its
        class without those on difficult objects.
    """
    found, objects, size = matches.found, matches.objects, len(matches.labels) + 1
    matrix = np.zeros((size, size), np.int64)
    kept = found.scores > score_threshold
    right = kept & found.correct
    np.add.at(matrix, (found.labels[right], found.labels[right]), 1)
    wrong = kept & ~found.correct & found.counts
    free = ~objects.difficult
    free[found.objects[right]] = False
    first_found, first_object = (
        np.searchsorted(table.images, np.arange(len(results) + 1)) for table in (found, objects))
    for image in np.unique(found.images[wrong]):
        rows = slice(first_found[image], first_found[image + 1])
        of_image = slice(first_object[image], first_object[image + 1])
        for label, taken in _pairs(results[image], wrong[rows], free[of_image]):
            matrix[taken, label] += 1
    np.add.at(matrix[:, 0], objects.labels[free], 1)
    return matrix


def _pairs(result: ImageResult, wrong: NDArray[np.bool_], free: NDArray[np.bool_]
           ) -> list[tuple[int, int]]:
    """Let wrong detections of one image take objects; return labels of both, 0 for no object."""
    detections, truth = result.detections, result.truth
    chosen = np.flatnonzero(wrong)
    chosen = chosen[np.argsort(-detections.scores[chosen], kind='stable')]
    if not free.any():
        return [(int(detections.labels[index]), 0) for index in chosen]
    overlaps = iou_matrix(detections.boxes_xyxy[chosen].astype(np.float64),
                          truth.boxes_xyxy.astype(np.float64))
    pairs = []
    for index, overlap in zip(chosen, overlaps, strict=True):
        overlap = np.where(free, overlap, -1)  # as it was changed by the one before
        best = int(overlap.argmax())
        took = overlap[best] >= MATCH_IOU
        free[best] &= not took
        pairs.append((int(detections.labels[index]), int(truth.labels[best]) if took else 0))
    return pairs
