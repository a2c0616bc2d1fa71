"""Heads: one box and one class predictor for each feature map."""

from __future__ import annotations

from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor

from mbv2ssd_train.model.layers import ConvNormAct, NormSettings

# initial score: a probability of 0.01 (arXiv:1708.02002, section 4.1)
NO_OBJECT_LOGIT = -math.log((1 - 0.01) / 0.01)


class SeparableHead(nn.Sequential):
    """A predictor of one map: 3x3 depthwise, then 1x1."""

    def __init__(self, channels: int, outputs: int, norm: NormSettings) -> None:
        super().__init__(
            ConvNormAct(channels, channels, 3, groups=channels, norm=norm),
            nn.Conv2d(channels, outputs, 1))


def build_heads(kind: str, channels: Sequence[int], outputs: Sequence[int], norm: NormSettings
                ) -> nn.ModuleList:
    """Build a predictor per map, 'ssdlite' (separable) or 'ssd' (3x3); `outputs` are per cell."""
    pairs = zip(channels, outputs, strict=True)
    if kind == 'ssd':
        return nn.ModuleList(nn.Conv2d(c, count, 3, padding=1) for c, count in pairs)
    return nn.ModuleList(SeparableHead(c, count, norm) for c, count in pairs)


def predictor(head: nn.Module) -> nn.Conv2d:
    """Return the last convolution of a head; its outputs are the predictions."""
    last = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(last, nn.Conv2d)
    return last


def expect_no_object(conf_heads: nn.ModuleList) -> None:
    """Set initial sigmoid scores to 0.01, in place: else thousands of negatives dominate."""
    for head in conf_heads:
        nn.init.constant_(predictor(head).bias, NO_OBJECT_LOGIT)  # type: ignore[arg-type]


def flatten_predictions(heads: nn.ModuleList, maps: Sequence[Tensor], values: int) -> Tensor:
    """Predict from (B, C, H, W) maps; return (B, P, values) in the order of the priors."""
    outputs = []
    for head, feature_map in zip(heads, maps, strict=True):
        predicted = head(feature_map)  # (B, A * values, H, W)
        priors = predicted[0].numel() // values
        # Only the batch is -1 in the reshape, so that an exported graph has fixed sizes.
        outputs.append(predicted.permute(0, 2, 3, 1).reshape(-1, priors, values))
    return torch.cat(outputs, dim=1)
