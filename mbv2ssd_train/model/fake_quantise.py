"""
Fake quantisation: a float network that computes what 8-bit integers would give.

Maps and weights are rounded to the steps of the exported file: a map by a scale calibrated on
images, weights by one scale for each output channel, from their largest values. The gradient
passes as if nothing had been rounded (straight-through), except where a value was clipped.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn, Tensor

from mbv2ssd_train.model.weight_grid import channel_scales

_STEPS, _LEAST = 127, 1e-12  # of symmetric int8; keeps the scale of an empty channel above 0

RANGE = 'quantiser.scale'  # how the names of ranges end in a state dict

Network = TypeVar('Network', bound=nn.Module)


class Quantiser(nn.Module):
    """Rounds a convolution's input map and weights; its scale is saved with the weights."""

    scale: Tensor

    def __init__(self) -> None:
        """Begin with a scale of NaN: it must be loaded."""
        super().__init__()
        self.register_buffer('scale', torch.tensor(float('nan')))

    def round_map(self, x: Tensor) -> Tensor:
        """Any shape; idempotent."""
        rounded: Tensor = _Round.apply(x, self.scale)
        return rounded

    def round_weight(self, weight: Tensor) -> Tensor:
        """(C', C, H, W), each C' with its own scale."""
        scale = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=_LEAST) / _STEPS
        return torch.fake_quantize_per_channel_affine(
            weight, scale, torch.zeros_like(scale, dtype=torch.int32), 0, -_STEPS, _STEPS)


class WeightQuantiser(Quantiser):
    """Rounds weights as a file for a CPU has them, and leaves maps unchanged."""

    def __init__(self) -> None:
        nn.Module.__init__(self)  # without a scale: there is none to load

    def round_map(self, x: Tensor) -> Tensor:
        return x

    def round_weight(self, weight: Tensor) -> Tensor:
        """(C', C, H, W), each C' with its own scale; no value is clipped."""
        scale = torch.from_numpy(channel_scales(weight.detach().cpu().numpy()))
        rounded: Tensor = _RoundWeight.apply(weight, scale.to(weight.device)[:, None, None, None])
        return rounded


class _RoundWeight(torch.autograd.Function):
    """Rounds half to even, by a division as in QuantizeLinear."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        return (weight / scale).round_() * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


# torch's function takes twice as long on a CPU, half a second of a step of 16 images: it writes a
# mask, and computing it again is as fast.
class _Round(torch.autograd.Function):
    """Rounds half to even to int8 steps; bits of torch.fake_quantize_per_tensor_affine."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return (x * scale.reciprocal()).round_().clamp_(-_STEPS - 1, _STEPS).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Pass the gradient except where a value was clipped."""
        x, scale = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(
            gradient, x * scale.reciprocal(), -_STEPS - 1.5, _STEPS + 0.5), None


class QuantisedConv2d(nn.Conv2d):
    """A convolution of rounded maps and weights; its bias is not rounded."""

    quantiser: Quantiser

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(
            self.quantiser.round_map(x), self.quantiser.round_weight(self.weight), self.bias)


def add_quantisers(network: Network, names: list[str], blocks_with_skip: list[str]) -> Network:
    """
    Copy a network without BatchNorm; the named convolutions compute with rounded numbers.

    blocks_with_skip names modules that add their input to their output; that input is rounded as
    their first convolution does. Weights keep their names; each `quantiser.scale` is to be loaded.
    """
    quantised = copy.deepcopy(network)
    for name in names:
        _quantise(quantised.get_submodule(name), Quantiser())
    for name in blocks_with_skip:
        quantised.get_submodule(name).register_forward_pre_hook(_round_input)
    return quantised


def add_weight_quantisers(network: Network, names: list[str]) -> Network:
    """Copy a network without BatchNorm; the named convolutions round their weights only."""
    quantised = copy.deepcopy(network)
    for name in names:
        _quantise(quantised.get_submodule(name), WeightQuantiser())
    return quantised


def _quantise(convolution: nn.Module, quantiser: Quantiser) -> None:
    assert type(convolution) is nn.Conv2d
    convolution.__class__ = QuantisedConv2d
    convolution.quantiser = quantiser


def keep_rounded_weights(network: Network) -> Network:
    """Copy a network of add_weight_quantisers as a float network with the rounded weights."""
    plain = remove_quantisers(network)
    with torch.no_grad():
        for name, quantiser in quantisers(network).items():
            weight = plain.get_submodule(name).weight
            weight.copy_(quantiser.round_weight(weight))  # type: ignore[operator, arg-type]
    return plain


def remove_quantisers(network: Network) -> Network:
    """Copy a network of add_quantisers; its convolutions compute in float, same weights."""
    plain = copy.deepcopy(network)
    for module in plain.modules():
        module._forward_pre_hooks.clear()
        if isinstance(module, QuantisedConv2d):
            del module.quantiser
            module.__class__ = nn.Conv2d
    return plain


def quantisers(network: nn.Module) -> dict[str, Quantiser]:
    """Find the quantisers, by the name of their convolution."""
    return {name: module.quantiser for name, module in network.named_modules()
            if isinstance(module, QuantisedConv2d)}


def _round_input(block: nn.Module, arguments: tuple[Any, ...]) -> Tensor:
    # from the block passed in: a copy's block has other quantisers
    first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    x, = arguments
    return first.quantiser.round_map(x) if isinstance(first, QuantisedConv2d) else x
