"""Predictors: one for the boxes and one for the classes of each feature map."""

from __future__ import annotations

from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor

from mbv2ssd_train.model.layers import ConvNormAct, NormSettings

# what scores begin with: a probability of 0.01 (arXiv:1708.02002, section 4.1)
NO_OBJECT_LOGIT = -math.log((1 - 0.01) / 0.01)


class SeparableHead(nn.Sequential):
    """A predictor of one map: 3x3 depthwise, then 1x1."""

    def __init__(self, channels: int, outputs: int, norm: NormSettings) -> None:
        """
        Build the layers.

        Args:
            channels: of the map.
            outputs: values for each cell.
            norm: of the BatchNorm.
        """
        super().__init__(
            ConvNormAct(channels, channels, 3, groups=channels, norm=norm),
            nn.Conv2d(channels, outputs, 1))


def build_heads(kind: str, channels: Sequence[int], outputs: Sequence[int], norm: NormSettings
                ) -> nn.ModuleList:
    """
    Build the predictors of all maps.

    Args:
        kind: 'ssdlite' (separable) or 'ssd' (one 3x3 convolution).
        channels: of each map.
        outputs: values for each cell of each map.
        norm: of the BatchNorms.

    Returns:
        One module for each map.
    """
    pairs = zip(channels, outputs, strict=True)
    if kind == 'ssd':
        return nn.ModuleList(nn.Conv2d(c, count, 3, padding=1) for c, count in pairs)
    return nn.ModuleList(SeparableHead(c, count, norm) for c, count in pairs)


def predictor(head: nn.Module) -> nn.Conv2d:
    """
    Return the last convolution of a head.

    Args:
        head: of build_heads.

    Returns:
        The layer whose outputs are predictions.
    """
    last = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(last, nn.Conv2d)
    return last


def expect_no_object(conf_heads: nn.ModuleList) -> None:
    """
    Let sigmoid scores begin at 0.01: thousands of negatives would drown the rest otherwise.

    Args:
        conf_heads: changed.
    """
    for head in conf_heads:
        nn.init.constant_(predictor(head).bias, NO_OBJECT_LOGIT)  # type: ignore[arg-type]


def flatten_predictions(heads: nn.ModuleList, maps: Sequence[Tensor], values: int) -> Tensor:
    """
    Run the predictors, and put what they say in the order of the priors.

    Args:
        heads: of build_heads.
        maps: one (B, C, H, W) for each.
        values: for each prior.

    Returns:
        (B, P, values).
    """
    outputs = []
    for head, feature_map in zip(heads, maps, strict=True):
        predicted = head(feature_map)  # (B, A * values, H, W)
        priors = predicted[0].numel() // values
        # Only the batch is left open in the reshape, so that an exported graph has fixed sizes.
        outputs.append(predicted.permute(0, 2, 3, 1).reshape(-1, priors, values))
    return torch.cat(outputs, dim=1)
