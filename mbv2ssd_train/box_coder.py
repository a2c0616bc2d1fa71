"""Boxes as offsets from priors and back; exported models contain the decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from mbv2ssd_ros.core.errors import ShapeError

Variances = tuple[float, float]


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Convert (..., 4) centre and size to corners."""
    centre, half_size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat([centre - half_size, centre + half_size], dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Convert (..., 4) corners to centre and size."""
    top_left, bottom_right = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=-1)


def encode_loc(boxes_cxcywh: Tensor, priors: Tensor, variances: Variances) -> Tensor:
    """
    Describe boxes by their offsets from priors; what the network learns.

    SSD (arXiv:1512.02325), eq. 2, with the variances of the original Caffe implementation.

    Args:
        boxes_cxcywh: (..., P, 4) float32 with positive sizes.
        priors: (P, 4) float32 cxcywh.
        variances: (centre, size).

    Returns:
        (..., P, 4) float32 offsets (dx, dy, dw, dh).

    Raises:
        ShapeError: boxes do not end in the shape of priors.
    """
    _check_shape('boxes_cxcywh', boxes_cxcywh, priors)
    centre = (boxes_cxcywh[..., :2] - priors[:, :2]) / (priors[:, 2:] * variances[0])
    size = torch.log(boxes_cxcywh[..., 2:] / priors[:, 2:]) / variances[1]
    return torch.cat([centre, size], dim=-1)


def decode_loc(loc: Tensor, priors: Tensor, variances: Variances) -> Tensor:
    """
    Turn regression offsets into boxes; the inverse of encode_loc.

    SSD (arXiv:1512.02325), eq. 2, with the variances of the original Caffe implementation.

    Args:
        loc: (..., P, 4) float32, offsets (dx, dy, dw, dh) of each prior.
        priors: (P, 4) float32 cxcywh in [0, 1].
        variances: (centre, size).

    Returns:
        (..., P, 4) float32 xyxy; 1.0 is the image side, boxes may reach outside [0, 1].

    Raises:
        ShapeError: loc does not end in the shape of priors.
    """
    _check_shape('loc', loc, priors)
    centre = loc[..., :2] * (priors[:, 2:] * variances[0]) + priors[:, :2]
    size = torch.exp(loc[..., 2:] * variances[1]) * priors[:, 2:]
    return cxcywh_to_xyxy(torch.cat([centre, size], dim=-1))


def _check_shape(name: str, values: Tensor, priors: Tensor) -> None:
    if values.shape[-2:] != priors.shape:
        raise ShapeError(f'{name} is {tuple(values.shape)}, expected to end in the shape of the '
                         f'priors {tuple(priors.shape)}')
