"""What a detector needs of a backbone, and how the MobileNets give it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn, Tensor

from mbv2ssd_train.model.layers import DEFAULT_NORM, NormSettings


class Backbone(nn.Module):
    """Images to feature maps, the finest first."""

    channels: tuple[int, ...]  # of the maps
    norm: NormSettings = DEFAULT_NORM  # its BatchNorms, and what belongs to them

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised to a list of (B, C, H', W')."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the parts that freezing counts, the first seeing the image."""


@dataclass(frozen=True)
class Taps:
    """Where a MobileNet gives out feature maps."""

    blocks: tuple[int, ...] = ()  # numbers of `features`, each halving the map
    expanded: bool = True  # their expansion layer's output, as SSDLite has it; else their input


class InvertedBlock(nn.Module):
    """A block that expands, filters and projects, and can be left after it has expanded."""

    in_channels: int
    expanded_channels: int

    @abstractmethod
    def expand(self, x: Tensor) -> Tensor:
        """Run the expansion layer alone; SSDLite attaches heads to its output."""

    @abstractmethod
    def filter_and_project(self, expanded: Tensor) -> Tensor:
        """Run what follows the expansion layer."""


class MobileNet(Backbone):
    """The feature layers of a MobileNet, `features.*`, without the classifier."""

    def __init__(self, layers: Sequence[nn.Module], last_channels: int, taps: Taps) -> None:
        """
        Take over the layers.

        Args:
            layers: under torchvision's numbers.
            last_channels: of the last layer, which is always given out.
            taps: the layers that are given out before it.
        """
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
        """Return `features`, one by one."""
        return list(self.features)

    def forward(self, images: Tensor) -> list[Tensor]:
        """
        Compute the feature maps that heads are attached to.

        Args:
            images: (B, 3, H, W) normalised.

        Returns:
            One map for each tap, then the last layer's at stride 32.
        """
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
