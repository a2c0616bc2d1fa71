"""MobileNetV2 (arXiv:1801.04381) under torchvision's key names, so that its weights load."""

from __future__ import annotations

from torch import nn, Tensor

from mbv2ssd_train.model.backbone import InvertedBlock, MobileNet, Taps
from mbv2ssd_train.model.layers import ConvNormAct, convolve_normalise

# expansion t, channels c, repeats n, first stride s (table 2)
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
           (6, 160, 3, 2), (6, 320, 1, 1))
TAPS_OF_STRIDE = {8: (7, 14), 16: (14,)}  # blocks that halve maps of that stride and the next


def make_divisible(channels: float, divisor: int = 8, least: int = 8) -> int:
    """Round to a multiple of divisor, at least `least`, never down by more than a tenth."""
    rounded = max(divisor, least, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class InvertedResidual(InvertedBlock):
    """Expand (1x1), filter (3x3 depthwise), project (1x1, linear)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int,
                 tensorflow_padding: bool) -> None:
        """Build the block; without an expansion layer where the factor `expansion` (t) is 1."""
        super().__init__()
        hidden = in_channels * expansion
        self.in_channels, self.expanded_channels = in_channels, hidden
        self.skip = stride == 1 and in_channels == out_channels
        expand = [] if expansion == 1 else [ConvNormAct(in_channels, hidden, kernel=1)]
        self.conv = nn.Sequential(
            *expand,
            ConvNormAct(hidden, hidden, 3, stride, hidden, tensorflow_padding),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels))

    def expand(self, x: Tensor) -> Tensor:
        return self.conv[0](x)

    def filter_and_project(self, expanded: Tensor) -> Tensor:
        depthwise, project, norm = self.conv[-3:]
        return convolve_normalise(depthwise(expanded), project, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        y = self.filter_and_project(x if len(self.conv) == 3 else self.expand(x))
        return x + y if self.skip else y


class MobileNetV2(MobileNet):
    """The feature layers, `features.0` to `features.18`, without the classifier."""

    def __init__(self, width_mult: float = 1.0, tensorflow_padding: bool = False,
                 min_depth: int = 8, taps: Taps = Taps()) -> None:  # noqa: B008 (frozen)
        """Build the layers; min_depth is the least number of channels of a layer."""
        channels = make_divisible(32 * width_mult, least=min_depth)
        layers: list[nn.Module] = [
            ConvNormAct(3, channels, 3, 2, tensorflow_padding=tensorflow_padding)]
        for expansion, stage_channels, repeats, first_stride in _STAGES:
            out_channels = make_divisible(stage_channels * width_mult, least=min_depth)
            for repeat in range(repeats):
                layers.append(InvertedResidual(
                    channels, out_channels, first_stride if repeat == 0 else 1, expansion,
                    tensorflow_padding))
                channels = out_channels
        last_channels = make_divisible(1280 * max(1.0, width_mult))
        layers.append(ConvNormAct(channels, last_channels, kernel=1))
        super().__init__(layers, last_channels, taps)
