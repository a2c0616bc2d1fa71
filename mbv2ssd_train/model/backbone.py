"""The interface of backbones, and what the MobileNets share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn, Tensor

from mbv2ssd_train.model.layers import DEFAULT_NORM, NormSettings


class Backbone(nn.Module):
    """Images to feature maps, the finest first."""

    channels: tuple[int, ...]  # of the maps
    norm: NormSettings = DEFAULT_NORM  # of its BatchNorms, and of those of neck, extras and heads

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised to a list of (B, C, H', W')."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the parts that freezing counts, in the order of the forward pass."""


@dataclass(frozen=True)
class Taps:
    """The layers of a MobileNet that return feature maps."""

    blocks: tuple[int, ...] = ()  # indices in `features`; each halves the map
    expanded: bool = True  # return their expansion layer's output, as SSDLite; else their input


class InvertedBlock(nn.Module):
    """A block that expands, filters and projects; heads can read the expanded map."""

    in_channels: int
    expanded_channels: int

    @abstractmethod
    def expand(self, x: Tensor) -> Tensor:
        """Run the expansion layer alone; SSDLite attaches heads to its output."""

    @abstractmethod
    def filter_and_project(self, expanded: Tensor) -> Tensor:
        """Run the layers after the expansion layer."""


class MobileNet(Backbone):
    """The feature layers of a MobileNet, `features.*`, without the classifier."""

    def __init__(self, layers: Sequence[nn.Module], last_channels: int, taps: Taps) -> None:
        """Take layers under torchvision's numbers; the last one's map is always returned."""
        super().__init__()
        self.features = nn.Sequential(*layers)
        self._taps = taps
        tapped = [self._tapped(index) for index in taps.blocks]
        self.channels = (*(block.expanded_channels if taps.expanded else block.in_channels
                           for block in tapped), last_channels)

    def _tapped(self, index: int) -> InvertedBlock:
        block = self.features[index]
        assert isinstance(block, InvertedBlock), f'features.{index} has no expansion layer'
        return block

    def blocks(self) -> list[nn.Module]:
        return list(self.features)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised to one map for each tap, then the last map at stride 32."""
        maps, x = [], images
        for index, layer in enumerate(self.features):
            if index not in self._taps.blocks:
                x = layer(x)
            elif self._taps.expanded:
                maps.append(layer.expand(x))
                x = layer.filter_and_project(maps[-1])
            else:
                maps.append(x)
                x = layer(x)
        return [*maps, x]
