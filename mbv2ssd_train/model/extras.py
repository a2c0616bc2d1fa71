"""Feature maps after the backbone, each smaller than the one before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from mbv2ssd_train.model.layers import ConvNormAct, NormSettings


class ExtraMap(nn.Sequential):
    """A feature map of half the size: compress, filter with stride 2, expand."""

    def __init__(self, in_channels: int, out_channels: int, norm: NormSettings,
                 tensorflow_padding: bool) -> None:
        hidden = out_channels // 2
        super().__init__(
            ConvNormAct(in_channels, hidden, kernel=1, norm=norm),
            ConvNormAct(hidden, hidden, 3, 2, hidden, tensorflow_padding, norm=norm),
            ConvNormAct(hidden, out_channels, kernel=1, norm=norm))


class SSD300ExtraMap(nn.Sequential):
    """A feature map of SSD300: compress, then filter and expand; without BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, halves: bool) -> None:
        """Halve the map, or filter without padding, so that a side loses two cells."""
        hidden = out_channels // 2
        super().__init__(
            nn.Conv2d(in_channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, out_channels, 3, stride=2 if halves else 1,
                      padding=1 if halves else 0),
            nn.ReLU(inplace=True))


def build_extras(kind: str, channels: Sequence[int], norm: NormSettings,
                 tensorflow_padding: bool = False) -> nn.ModuleList:
    """Build maps, 'ssdlite', 'conv' or 'ssd300'; channels[0] is of the backbone's last map."""
    pairs = list(pairwise(channels))
    if kind == 'ssd300':  # no tensorflow_padding; conv8_2 and conv9_2 halve, the others do not
        return nn.ModuleList(SSD300ExtraMap(before, after, index < 2)
                             for index, (before, after) in enumerate(pairs))
    if kind == 'conv':
        return nn.ModuleList(
            ConvNormAct(before, after, 3, 2, tensorflow_padding=tensorflow_padding, norm=norm)
            for before, after in pairs)
    return nn.ModuleList(ExtraMap(before, after, norm, tensorflow_padding)
                         for before, after in pairs)
