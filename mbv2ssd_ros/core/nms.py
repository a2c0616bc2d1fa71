"""
Greedy non-maximum suppression on the few candidates that are left after thresholding.

In plain Python floats on purpose: up to some hundred candidates it is as fast as OpenCV's (which
JetPack 6 lacks in its batched form) and faster than one numpy call for each box.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

_Box = tuple[float, float, float, float, float]  # xyxy and area


def class_aware_nms(boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32],
                    labels: NDArray[np.intp], nms_iou: float) -> NDArray[np.intp]:
    """
    Keep the best boxes; a box suppresses only boxes of its own class.

    Args:
        boxes_xyxy: (K, 4), any unit.
        scores: (K,).
        labels: (K,) class of each box.
        nms_iou: a box goes when its IoU with a better one of its class is above this.

    Returns:
        Indices of the kept boxes, by descending score; equal scores in input order.
    """
    candidates = _with_area(boxes_xyxy)
    label_of = labels.tolist()
    kept_by_label: defaultdict[int, list[_Box]] = defaultdict(list)
    kept = [index for index in (-scores).argsort(kind='stable').tolist()
            if _claim(candidates[index], kept_by_label[label_of[index]], nms_iou)]
    return np.array(kept, dtype=np.intp)


def class_agnostic_nms(boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32],
                       nms_iou: float) -> NDArray[np.intp]:
    """
    Keep the best boxes; a box suppresses boxes of every class.

    Args:
        boxes_xyxy: (K, 4), any unit.
        scores: (K,).
        nms_iou: a box goes when its IoU with a better one is above this.

    Returns:
        Indices of the kept boxes, by descending score; equal scores in input order.
    """
    return class_aware_nms(boxes_xyxy, scores, np.zeros(len(scores), dtype=np.intp), nms_iou)


def _with_area(boxes_xyxy: NDArray[np.float32]) -> list[_Box]:
    return [(x1, y1, x2, y2, max(x2 - x1, 0.0) * max(y2 - y1, 0.0))
            for x1, y1, x2, y2 in boxes_xyxy.tolist()]


def _claim(box: _Box, kept: list[_Box], nms_iou: float) -> bool:
    """Add the box to those kept unless one of them overlaps it too much."""
    x1, y1, x2, y2, area = box
    for a1, b1, a2, b2, kept_area in kept:
        width = (x2 if x2 < a2 else a2) - (x1 if x1 > a1 else a1)
        height = (y2 if y2 < b2 else b2) - (y1 if y1 > b1 else b1)
        # IoU > nms_iou, without the division: a box without area is never suppressed
        if width > 0 and height > 0:
            shared = width * height
            if shared > nms_iou * (area + kept_area - shared):
                return False
    kept.append(box)
    return True
