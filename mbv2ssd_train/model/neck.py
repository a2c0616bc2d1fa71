"""
FPN-lite: the fine maps of the backbone learn from the coarse ones what they show.

A feature pyramid (arXiv:1612.03144) whose filters are separable, as in TensorFlow's SSD
MobileNetV2 FPN-lite. It stands between the backbone and the heads; the extra maps still come
from the last map of the backbone, which has all its channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.model.layers import ConvNormAct, NormSettings


class LevelFilter(nn.Module):
    """What heads read of a merged map: 3x3 depthwise, then 1x1, against traces of enlarging."""

    skip = True  # its input goes on, beside what it computes: rounded, it is the same for both

    def __init__(self, channels: int, norm: NormSettings) -> None:
        """
        Build the layers.

        Args:
            channels: of the map, before and after.
            norm: of the BatchNorms.
        """
        super().__init__()
        self.layers = nn.Sequential(
            ConvNormAct(channels, channels, 3, groups=channels, norm=norm),
            ConvNormAct(channels, channels, 1, norm=norm))

    def forward(self, merged: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the map for heads, and the one that finer levels are merged with."""
        return self.layers(merged), merged


class FPNLite(nn.Module):
    """Maps of the backbone to as many maps with the same number of channels."""

    def __init__(self, in_channels: Sequence[int], channels: int, norm: NormSettings) -> None:
        """
        Build the layers.

        Args:
            in_channels: of the maps, the finest first.
            channels: of each map that comes out.
            norm: of the BatchNorms.
        """
        super().__init__()
        self.channels = (channels,) * len(in_channels)
        self.laterals = nn.ModuleList(
            ConvNormAct(count, channels, 1, activation=None, norm=norm) for count in in_channels)
        self.filters = nn.ModuleList(LevelFilter(channels, norm) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """
        Merge from the coarsest map to the finest.

        Args:
            maps: (B, C, H, W) of the backbone, the finest first, each about half the next finer.

        Returns:
            Maps of the same sizes.
        """
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
    Repeat every cell in both directions; cell k lies over the finer cells 2k and 2k + 1.

    Doubling and cutting, rather than resizing to any size, keeps cells where the strides of the
    backbone have put them, and is a constant scale in an exported graph.

    Args:
        coarse: (B, C, h, w).
        size_hw: of the result: 2h or 2h - 1 where the halving rounded up, 2h + 1 where it
            rounded down, as VGG16's pooling; so for the width.

    Returns:
        (B, C, H, W).
    """
    x = F.interpolate(coarse, scale_factor=2, mode='nearest')
    for axis, side in zip((-2, -1), size_hw, strict=True):
        if x.shape[axis] > side:
            x = x.narrow(axis, 0, side)
        elif x.shape[axis] < side:
            x = torch.cat([x, x.narrow(axis, -1, 1)], dim=axis)
    return x
