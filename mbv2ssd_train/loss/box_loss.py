"""The box loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mbv2ssd_train.box_coder import decode_loc, encode_loc, Variances, xyxy_to_cxcywh
from mbv2ssd_train.config import LossConfig
from mbv2ssd_train.loss.overlap import ciou, diou, giou

_OVERLAPS = {'giou': giou, 'diou': diou, 'ciou': ciou}
_FARTHEST = 1000.0  # offset limit, in sides of the prior
_LARGEST = 6.0  # exponent limit: up to 400 times the size of the prior, or 1/400


def box_loss(loc: Tensor, boxes_xyxy: Tensor, priors: Tensor, variances: Variances,
             config: LossConfig) -> Tensor:
    """Return (K,) losses of offsets (K, 4) for boxes (K, 4) xyxy of positive size."""
    # priors: (K, 4) cxcywh; boxes and priors are in pixels for the overlap losses
    if config.box in _OVERLAPS:
        predicted = decode_within_reason(loc, priors, variances)
        return 1 - _OVERLAPS[config.box](predicted, boxes_xyxy)
    wanted = encode_loc(xyxy_to_cxcywh(boxes_xyxy), priors, variances)
    if config.box == 'l1':
        return (loc - wanted).abs().sum(dim=-1)
    return F.smooth_l1_loss(loc, wanted, reduction='none', beta=config.smooth_l1_beta).sum(dim=-1)


def decode_within_reason(loc: Tensor, priors: Tensor, variances: Variances) -> Tensor:
    """Decode (..., P, 4) to xyxy of finite area, however large loc; NaN if loc is not finite."""
    farthest, largest = _FARTHEST / variances[0], _LARGEST / variances[1]
    limited = torch.cat([loc[..., :2].clamp(-farthest, farthest),
                         loc[..., 2:].clamp(-largest, largest)], dim=-1)
    # 0 * loc keeps NaN, so that a loc that is not finite does not go unnoticed
    return decode_loc(limited + 0 * loc, priors, variances)
