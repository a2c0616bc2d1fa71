"""
FPN-lite: the fine maps of the backbone get the context of the coarse ones.

A feature pyramid (arXiv:1612.03144) with separable filters, as in TensorFlow's SSD MobileNetV2
FPN-lite. The extra maps still start from the last map of the backbone, with all its channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.model.layers import ConvNormAct, NormSettings


class LevelFilter(nn.Module):
    """Filter a merged map for the heads (3x3 depthwise, 1x1), against artefacts of enlarging."""

    skip = True  # its input is an output too: both must read the same quantised map

    def __init__(self, channels: int, norm: NormSettings) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvNormAct(channels, channels, 3, groups=channels, norm=norm),
            ConvNormAct(channels, channels, 1, norm=norm))

    def forward(self, merged: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the map for heads, and the map to merge finer levels with."""
        return self.layers(merged), merged


class FPNLite(nn.Module):
    """Maps of the backbone to as many maps with the same number of channels."""

    def __init__(self, in_channels: Sequence[int], channels: int, norm: NormSettings) -> None:
        super().__init__()
        self.channels = (channels,) * len(in_channels)
        self.laterals = nn.ModuleList(
            ConvNormAct(count, channels, 1, activation=None, norm=norm) for count in in_channels)
        self.filters = nn.ModuleList(LevelFilter(channels, norm) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Merge (B, C, H, W) maps, the finest first, each about half the one before."""
        found: list[Tensor] = []
        coarser = None
        for lateral, level, feature_map in zip(
                reversed(self.laterals), reversed(self.filters), reversed(maps), strict=True):
            merged = lateral(feature_map)
            if coarser is not None:
                merged = merged + enlarge(coarser, merged.shape[-2:])
            result, coarser = level(merged)
            found.insert(0, result)
        return found


def enlarge(coarse: Tensor, size_hw: Sequence[int]) -> Tensor:
    """
    Repeat every cell of (B, C, h, w) in both directions; cell k covers the finer 2k and 2k + 1.

    Doubling and cropping, unlike resizing to any size, keeps cells where the backbone's strides
    put them, and is a constant scale in an exported graph. Each side of size_hw is 2h or 2h - 1
    where the halving rounded up, 2h + 1 where it rounded down, as VGG16's pooling.
    """
    x = F.interpolate(coarse, scale_factor=2, mode='nearest')
    for axis, side in zip((-2, -1), size_hw, strict=True):
        if x.shape[axis] > side:
            x = x.narrow(axis, 0, side)
        elif x.shape[axis] < side:
            x = torch.cat([x, x.narrow(axis, -1, 1)], dim=axis)
    return x
