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
    Return the indices of the kept boxes, by descending score; equal scores in order.

    A box of the (K, 4), in any unit, is suppressed when its IoU with a better one of its class is
    above nms_iou.
    """
    best_first = (-scores).argsort(kind='stable')
    kept = nms_best_first(boxes_xyxy[best_first].tolist(), labels[best_first].tolist(), nms_iou)
    return best_first[np.array(kept, dtype=np.intp)]


def class_agnostic_nms(boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32],
                       nms_iou: float) -> NDArray[np.intp]:
    """As class_aware_nms, but a box suppresses boxes of every class."""
    return class_aware_nms(boxes_xyxy, scores, np.zeros(len(scores), dtype=np.intp), nms_iou)


def nms_best_first(boxes_xyxy: Sequence[Sequence[float]], labels: Sequence[int], nms_iou: float
                   ) -> list[int]:
    """As class_aware_nms for boxes sorted by score, best first; indices ascend."""
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
