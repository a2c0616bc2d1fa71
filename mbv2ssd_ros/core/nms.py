"""
Greedy non-maximum suppression on the few candidates that are left after thresholding.

In plain Python floats on purpose: up to some hundred candidates it is as fast as OpenCV's (which
JetPack 6 lacks in its batched form) and faster than one numpy call for each box.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    best_first = (-scores).argsort(kind='stable')
    kept = nms_best_first(boxes_xyxy[best_first].tolist(), labels[best_first].tolist(), nms_iou)
    return best_first[np.array(kept, dtype=np.intp)]


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


def nms_best_first(boxes_xyxy: Sequence[Sequence[float]], labels: Sequence[int], nms_iou: float
                   ) -> list[int]:
    """
    Keep the best boxes of candidates that come in the order of their scores.

    Args:
        boxes_xyxy: four numbers each, any unit; the best one first.
        labels: class of each box; equal ones for all where classes do not matter.
        nms_iou: a box goes when its IoU with a better one of its class is above this.

    Returns:
        Indices of the kept boxes, ascending.
    """
    kept: list[int] = []
    kept_by_label: dict[int, list[_Box]] = {}
    for index, (x1, y1, x2, y2) in enumerate(boxes_xyxy):
        area = (x2 - x1) * (y2 - y1) if x2 > x1 and y2 > y1 else 0.0
        rivals = kept_by_label.setdefault(labels[index], [])
        for a1, b1, a2, b2, rival_area in rivals:
            width = (x2 if x2 < a2 else a2) - (x1 if x1 > a1 else a1)
            height = (y2 if y2 < b2 else b2) - (y1 if y1 > b1 else b1)
            # IoU > nms_iou, without the division: a box without area is never suppressed
            if width > 0 and height > 0:
                shared = width * height
                if shared > nms_iou * (area + rival_area - shared):
                    break
        else:
            rivals.append((x1, y1, x2, y2, area))
            kept.append(index)
    return kept
