"""
Axis-aligned boxes as numpy arrays.

Inside `core` a box is normalised: 1.0 is the image side, (0, 0) the outer corner of the top left
pixel, so a box that covers a whole image is (0, 0, 1, 1). Pixels appear only in `image.py` and in
what `detector` returns. Areas and IoU are scale free and work in pixels as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32 or float64; the result has the dtype of the argument


def xyxy_to_cxcywh(boxes_xyxy: Floats) -> Floats:
    """Turn corners (..., 4) into centre and size of the same dtype."""
    top_left, bottom_right = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([(top_left + bottom_right) / 2, bottom_right - top_left], axis=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Floats) -> Floats:
    """Turn centre and size (..., 4) into corners; the inverse of xyxy_to_cxcywh."""
    centre, half_size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return np.concatenate([centre - half_size, centre + half_size], axis=-1)


def box_area(boxes_xyxy: Floats) -> Floats:
    """Area (...,) of xyxy boxes (..., 4), in squared units; 0 where the corners are swapped."""
    size = np.clip(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0, None)
    area: Floats = size[..., 0] * size[..., 1]
    return area


def intersection_area(boxes_a: Floats, boxes_b: Floats) -> Floats:
    """Area (A, B) that each of boxes_a (A, 4) xyxy shares with each of boxes_b (B, 4)."""
    top_left = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    size = np.clip(bottom_right - top_left, 0, None)  # (A, B, 2)
    area: Floats = size[..., 0] * size[..., 1]
    return area


def iou_matrix(boxes_a: Floats, boxes_b: Floats) -> Floats:
    """IoU (A, B) in [0, 1] of boxes (A, 4) and (B, 4) xyxy; 0 where both have no area."""
    shared = intersection_area(boxes_a, boxes_b)
    union = box_area(boxes_a)[:, None] + box_area(boxes_b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def clip_boxes(boxes_xyxy: Floats, width: float = 1.0, height: float = 1.0) -> Floats:
    """Clip boxes (..., 4) at the border of an image whose size is in the boxes' unit."""
    limits = np.array([width, height, width, height], dtype=boxes_xyxy.dtype)
    # the two ufuncs of np.clip, without its overhead, which is larger
    clipped: Floats = np.minimum(np.maximum(boxes_xyxy, 0), limits)
    return clipped
