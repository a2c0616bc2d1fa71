"""
SSDLite on MobileNetV2: extra feature maps and depthwise heads.

SSD (arXiv:1512.02325) with the separable heads of MobileNetV2 (arXiv:1801.04381) section 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn, Tensor

from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.model.layers import ConvNormAct
from mbv2ssd_train.model.mobilenet_v2 import MobileNetV2

_TAPS = {8: (7, 14), 16: (14,)}  # blocks whose expansion layer has that stride and the next


class ExtraMap(nn.Sequential):
    """One more feature map of half the size: compress, filter with stride 2, expand."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """
        Build the three layers.

        Args:
            in_channels: of the map before.
            out_channels: of this map.
        """
        hidden = out_channels // 2
        super().__init__(
            ConvNormAct(in_channels, hidden, kernel=1),
            ConvNormAct(hidden, hidden, 3, 2, hidden),
            ConvNormAct(hidden, out_channels, kernel=1))


class SeparableHead(nn.Sequential):
    """A predictor of one map: 3x3 depthwise, then 1x1."""

    def __init__(self, channels: int, outputs: int) -> None:
        """
        Build the layers.

        Args:
            channels: of the map.
            outputs: values for each cell.
        """
        super().__init__(
            ConvNormAct(channels, channels, 3, groups=channels),
            nn.Conv2d(channels, outputs, 1))


class SSDLite(nn.Module):
    """Images to raw predictions for each prior."""

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        """
        Build the network with random weights.

        Args:
            config: of the model.
            num_classes: background included.
        """
        super().__init__()
        self.num_classes = num_classes
        self._taps = _TAPS[config.first_stride]
        self.backbone = MobileNetV2(
            config.width_mult, tensorflow_padding=config.stride2_padding == 'tensorflow')
        channels = [*(self.backbone.tap_channels(tap) for tap in self._taps),
                    self.backbone.last_channels, *config.extra_channels]
        self.extras = nn.ModuleList(
            ExtraMap(before, after)
            for before, after in pairwise(channels[-len(config.extra_channels) - 1:]))
        shapes = [len(level.shapes_wh) for level in config.prior_levels()]
        self.loc_heads = nn.ModuleList(
            SeparableHead(c, 4 * a) for c, a in zip(channels, shapes, strict=True))
        self.conf_heads = nn.ModuleList(
            SeparableHead(c, num_classes * a) for c, a in zip(channels, shapes, strict=True))
        _initialise(self.extras, self.loc_heads, self.conf_heads)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Predict.

        Args:
            images: (B, 3, H, W) normalised.

        Returns:
            loc (B, P, 4) and conf_logits (B, P, C).
        """
        maps = self.backbone(images, self._taps)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return (_flatten(self.loc_heads, maps, 4),
                _flatten(self.conf_heads, maps, self.num_classes))


def _flatten(heads: nn.ModuleList, maps: Sequence[Tensor], values: int) -> Tensor:
    outputs = []
    for head, feature_map in zip(heads, maps, strict=True):
        predicted = head(feature_map)  # (B, A * values, H, W)
        priors = predicted[0].numel() // values
        # Only the batch is left open in the reshape, so that an exported graph has fixed sizes.
        outputs.append(predicted.permute(0, 2, 3, 1).reshape(-1, priors, values))
    return torch.cat(outputs, dim=1)


def _initialise(*parts: nn.Module) -> None:
    """Small random weights, as torchvision's SSDLite: the first gradients are not huge."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.03)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
