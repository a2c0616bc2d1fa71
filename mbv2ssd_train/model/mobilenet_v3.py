"""MobileNetV3-Large (arXiv:1905.02244) under torchvision's key names, so that its weights load."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.model.backbone import InvertedBlock, MobileNet, Taps
from mbv2ssd_train.model.layers import ConvNormAct, initialise, NormSettings
from mbv2ssd_train.model.mobilenet_v2 import make_divisible

NORM = NormSettings(eps=1e-3, momentum=0.03)  # those of torchvision's SSDLite320
TAPS_OF_STRIDE = {8: (7, 13), 16: (13,)}  # blocks that halve maps of that stride and the next


class Hardswish(nn.Module):
    """Hard swish, x * hardsigmoid(x)."""

    def __init__(self, inplace: bool = False) -> None:
        """Accept `inplace` as other activations do; it has no effect."""
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        # Two operators in eval mode: some engine builders are older than ONNX's HardSwish.
        return F.hardswish(x) if self.training else x * F.hardsigmoid(x)


@dataclass(frozen=True)
class _Block:
    """A row of table 1."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool  # squeeze and excitation
    activation: type[nn.Module]
    stride: int


_BLOCKS = (
    _Block(3, 16, 16, False, nn.ReLU, 1),
    _Block(3, 64, 24, False, nn.ReLU, 2),
    _Block(3, 72, 24, False, nn.ReLU, 1),
    _Block(5, 72, 40, True, nn.ReLU, 2),
    _Block(5, 120, 40, True, nn.ReLU, 1),
    _Block(5, 120, 40, True, nn.ReLU, 1),
    _Block(3, 240, 80, False, Hardswish, 2),
    _Block(3, 200, 80, False, Hardswish, 1),
    _Block(3, 184, 80, False, Hardswish, 1),
    _Block(3, 184, 80, False, Hardswish, 1),
    _Block(3, 480, 112, True, Hardswish, 1),
    _Block(3, 672, 112, True, Hardswish, 1))


def _tail(reduced: bool) -> tuple[_Block, ...]:
    """Return the last three blocks; reduced, they have half the channels (section 6.3)."""
    out, expanded = (80, 480) if reduced else (160, 960)
    return (_Block(5, 672, out, True, Hardswish, 2), _Block(5, expanded, out, True, Hardswish, 1),
            _Block(5, expanded, out, True, Hardswish, 1))


class SqueezeExcitation(nn.Module):
    """Weigh the channels by the mean of the whole map (arXiv:1709.01507)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(pooled))))


class InvertedResidual(InvertedBlock):
    """Expand (1x1), filter (depthwise), weigh the channels, project (1x1, linear)."""

    def __init__(self, in_channels: int, expanded: int, out_channels: int, row: _Block) -> None:
        """Build the block; without an expansion layer where expanded == in_channels."""
        super().__init__()
        self.in_channels, self.expanded_channels = in_channels, expanded
        self.skip = row.stride == 1 and in_channels == out_channels
        self._expands = expanded != in_channels
        layers: list[nn.Module] = []
        if self._expands:
            layers.append(ConvNormAct(in_channels, expanded, 1, activation=row.activation,
                                      norm=NORM))
        layers.append(ConvNormAct(expanded, expanded, row.kernel, row.stride, expanded,
                                  activation=row.activation, norm=NORM))
        if row.squeeze:
            layers.append(SqueezeExcitation(expanded, make_divisible(expanded // 4)))
        layers.append(ConvNormAct(expanded, out_channels, 1, activation=None, norm=NORM))
        self.block = nn.Sequential(*layers)

    def expand(self, x: Tensor) -> Tensor:
        return self.block[0](x)

    def filter_and_project(self, expanded: Tensor) -> Tensor:
        return self.block[1 if self._expands else 0:](expanded)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        y = self.block(x)
        return x + y if self.skip else y


class MobileNetV3Large(MobileNet):
    """The feature layers, `features.0` to `features.16`, without the classifier."""

    norm = NORM

    def __init__(self, width_mult: float = 1.0, reduced_tail: bool = False, min_depth: int = 8,
                 taps: Taps = Taps()) -> None:  # noqa: B008 (frozen)
        """Build as torchvision's SSDLite320; reduced_tail halves the channels after stride 16."""
        def scaled(channels: int) -> int:
            return make_divisible(channels * width_mult, least=min_depth)

        channels = scaled(16)
        layers: list[nn.Module] = [ConvNormAct(3, channels, 3, 2, activation=Hardswish, norm=NORM)]
        for row in (*_BLOCKS, *_tail(reduced_tail)):
            layers.append(InvertedResidual(channels, scaled(row.expanded), scaled(row.out), row))
            channels = scaled(row.out)
        layers.append(ConvNormAct(channels, 6 * channels, 1, activation=Hardswish, norm=NORM))
        super().__init__(layers, 6 * channels, taps)
        initialise_normal(self)


def initialise_normal(*parts: nn.Module) -> None:
    """Draw small random weights, as torchvision's SSDLite, so that first gradients stay small."""
    initialise(partial(nn.init.normal_, std=0.03), *parts)
