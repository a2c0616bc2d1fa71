"""IoU, and the overlap measures of the box losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EPS = 1e-7  # keeps boxes without area from dividing by zero


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """IoU (..., A, B) of xyxy boxes; a of no area overlap nothing, b have positive areas."""
    # One coordinate at a time: several times as fast as on (A, B, 2), and the same bits.
    left_a, top_a, right_a, bottom_a = (edge.unsqueeze(-1) for edge in boxes_a.unbind(-1))
    left_b, top_b, right_b, bottom_b = (
        edge.contiguous().unsqueeze(-2) for edge in boxes_b.unbind(-1))
    width = torch.minimum(right_a, right_b)
    other = torch.maximum(left_a, left_b)
    width.sub_(other).clamp_(min=0)
    height = torch.minimum(bottom_a, bottom_b)
    height.sub_(torch.maximum(top_a, top_b, out=other)).clamp_(min=0)
    shared = width.mul_(height)
    areas = torch.add((right_a - left_a) * (bottom_a - top_a),
                      (right_b - left_b) * (bottom_b - top_b), out=other)
    return shared.div_(areas.sub_(shared))


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of pairs (..., 4) xyxy, in [0, 1]; at least one of each pair has an area."""
    shared, union = _shared_and_union(boxes, others)
    return shared / union


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of pairs (..., 4) xyxy, in [-1, 1] (arXiv:1902.09630)."""
    shared, union = _shared_and_union(boxes, others)
    enclosing = _enclosing_wh(boxes, others).prod(dim=-1).clamp(min=_EPS)
    return shared / union - (enclosing - union) / enclosing


# Pixels: in units of a non-square image, distances and aspect ratios are distorted.
def diou(boxes: Tensor, others: Tensor) -> Tensor:
    """Distance IoU of pairs (..., 4) xyxy in pixels, in [-1, 1] (arXiv:1911.08287, eq. 7)."""
    shared, union = _shared_and_union(boxes, others)
    centres = boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]
    distance = (centres / 2).square().sum(dim=-1)
    diagonal = _enclosing_wh(boxes, others).square().sum(dim=-1).clamp(min=_EPS)
    return shared / union - distance / diagonal


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """Complete IoU of pairs (..., 4) xyxy in pixels, at most 1 (arXiv:1911.08287, eq. 10-11)."""
    shape_error = (4 / math.pi ** 2) * (_slope(boxes) - _slope(others)).square()
    with torch.no_grad():  # the paper's trade-off is a constant weight
        weight = shape_error / (1 - iou(boxes, others) + shape_error).clamp(min=_EPS)
    return diou(boxes, others) - weight * shape_error


def _slope(boxes: Tensor) -> Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=_EPS).unbind(-1)
    return torch.atan2(width, height)


def _shared_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    top_left = torch.maximum(boxes[..., :2], others[..., :2])
    bottom_right = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) \
        + (others[..., 2:] - others[..., :2]).prod(dim=-1)
    return shared, (areas - shared).clamp(min=_EPS)


def _enclosing_wh(boxes: Tensor, others: Tensor) -> Tensor:
    return torch.maximum(boxes[..., 2:], others[..., 2:]) \
        - torch.minimum(boxes[..., :2], others[..., :2])
