"""What a wrong box costs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mbv2ssd_train.box_coder import decode_loc, encode_loc, Variances, xyxy_to_cxcywh
from mbv2ssd_train.config import LossConfig
from mbv2ssd_train.loss.overlap import ciou, diou, giou

_OVERLAPS = {'giou': giou, 'diou': diou, 'ciou': ciou}
_FARTHEST = 1000.0  # sides of the prior that its box may be away
_LARGEST = 6.0  # exponent: a box may be 400 times as wide as its prior, or as narrow


def box_loss(loc: Tensor, boxes_xyxy: Tensor, priors: Tensor, variances: Variances,
             config: LossConfig) -> Tensor:
    """
    Compare predicted offsets with the boxes that they should give.

    Args:
        loc: (K, 4) float32 offsets of K priors.
        boxes_xyxy: (K, 4) with positive sizes, in pixels where the loss is of overlap.
        priors: (K, 4) cxcywh in the same unit.
        variances: of the box coding.
        config: kind of loss.

    Returns:
        (K,) sum over the four offsets, or 1 less the overlap of the boxes.
    """
    if config.box in _OVERLAPS:
        predicted = decode_within_reason(loc, priors, variances)
        return 1 - _OVERLAPS[config.box](predicted, boxes_xyxy)
    wanted = encode_loc(xyxy_to_cxcywh(boxes_xyxy), priors, variances)
    if config.box == 'l1':
        return (loc - wanted).abs().sum(dim=-1)
    return F.smooth_l1_loss(loc, wanted, reduction='none', beta=config.smooth_l1_beta).sum(dim=-1)


def decode_within_reason(loc: Tensor, priors: Tensor, variances: Variances) -> Tensor:
    """
    Turn offsets into boxes whose areas stay finite however far off the offsets are.

    Args:
        loc: (..., P, 4) float32.
        priors: (P, 4) cxcywh.
        variances: of the box coding.

    Returns:
        (..., P, 4) xyxy; not a number where loc is not finite, so that it does not go unnoticed.
    """
    farthest, largest = _FARTHEST / variances[0], _LARGEST / variances[1]
    limited = torch.cat([loc[..., :2].clamp(-farthest, farthest),
                         loc[..., 2:].clamp(-largest, largest)], dim=-1)
    return decode_loc(limited + 0 * loc, priors, variances)
