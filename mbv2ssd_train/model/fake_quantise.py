"""
A network that computes in float what 8-bit integers would give, and learns to live with it.

Maps and weights are rounded to the steps that the exported file has: a map by the scale that was
measured on images, weights by one scale for each output channel, from their largest values. The
gradient passes as if nothing had been rounded, but not where a value was cut off.
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
    """Rounds what a convolution reads; its scale is saved with the weights."""

    scale: Tensor

    def __init__(self) -> None:
        """Begin with a scale that is no number: one has to be loaded."""
        super().__init__()
        self.register_buffer('scale', torch.tensor(float('nan')))

    def round_map(self, x: Tensor) -> Tensor:
        """Any shape; rounding twice gives the same as once."""
        rounded: Tensor = _Round.apply(x, self.scale)
        return rounded

    def round_weight(self, weight: Tensor) -> Tensor:
        """(C', C, H, W), each C' with its own scale."""
        scale = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=_LEAST) / _STEPS
        return torch.fake_quantize_per_channel_affine(
            weight, scale, torch.zeros_like(scale, dtype=torch.int32), 0, -_STEPS, _STEPS)


class WeightQuantiser(Quantiser):
    """Rounds weights as a file for a CPU has them, and leaves maps as they are."""

    def __init__(self) -> None:
        """There is nothing to load."""
        nn.Module.__init__(self)

    def round_map(self, x: Tensor) -> Tensor:
        """Any shape, as it is."""
        return x

    def round_weight(self, weight: Tensor) -> Tensor:
        """(C', C, H, W), each C' with its own scale; none is cut off."""
        scale = torch.from_numpy(channel_scales(weight.detach().cpu().numpy()))
        rounded: Tensor = _RoundWeight.apply(weight, scale.to(weight.device)[:, None, None, None])
        return rounded


class _RoundWeight(torch.autograd.Function):
    """Rounds to whole steps, by a division as QuantizeLinear does."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        """Round; a value between two steps goes to the even one."""
        return (weight / scale).round_() * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Pass the gradient."""
        return gradient, None


class _Round(torch.autograd.Function):
    """
    Rounds to steps of signed 8-bit integers.

    Bit for bit torch.fake_quantize_per_tensor_affine, which takes twice as long on a CPU,
    half a second of a step of 16 images: it writes a mask that is as soon computed again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        """Round; a value between two steps goes to the even one."""
        ctx.save_for_backward(x, scale)
        return (x * scale.reciprocal()).round_().clamp_(-_STEPS - 1, _STEPS).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Pass the gradient but where a value was cut off."""
        x, scale = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(
            gradient, x * scale.reciprocal(), -_STEPS - 1.5, _STEPS + 0.5), None


class QuantisedConv2d(nn.Conv2d):
    """A convolution of rounded numbers; its bias is not rounded."""

    quantiser: Quantiser

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return self._conv_forward(
            self.quantiser.round_map(x), self.quantiser.round_weight(self.weight), self.bias)


def add_quantisers(network: Network, names: list[str], blocks_with_skip: list[str]) -> Network:
    """
    Copy a network, some of its convolutions computing with rounded numbers.

    Args:
        network: without BatchNorm, whose scales the weights would otherwise lack.
        names: of the convolutions.
        blocks_with_skip: names of modules whose input is added to what they compute; it is
            rounded as their first convolution does.

    Returns:
        The copy; its weights have the same names, and each convolution a `quantiser.scale`
        besides, to be loaded.
    """
    quantised = copy.deepcopy(network)
    for name in names:
        _quantise(quantised.get_submodule(name), Quantiser())
    for name in blocks_with_skip:
        quantised.get_submodule(name).register_forward_pre_hook(_round_input)
    return quantised


def add_weight_quantisers(network: Network, names: list[str]) -> Network:
    """
    Copy a network, some of its convolutions computing with rounded weights.

    Args:
        network: without BatchNorm.
        names: of the convolutions.

    Returns:
        The copy; its weights have the same names.
    """
    quantised = copy.deepcopy(network)
    for name in names:
        _quantise(quantised.get_submodule(name), WeightQuantiser())
    return quantised


def _quantise(convolution: nn.Module, quantiser: Quantiser) -> None:
    assert type(convolution) is nn.Conv2d
    convolution.__class__ = QuantisedConv2d
    convolution.quantiser = quantiser


def keep_rounded_weights(network: Network) -> Network:
    """
    Copy a network, what it rounds its weights to being its weights.

    Args:
        network: of add_weight_quantisers.

    Returns:
        A float network that computes the same.
    """
    plain = remove_quantisers(network)
    with torch.no_grad():
        for name, quantiser in quantisers(network).items():
            weight = plain.get_submodule(name).weight
            weight.copy_(quantiser.round_weight(weight))  # type: ignore[operator, arg-type]
    return plain


def remove_quantisers(network: Network) -> Network:
    """
    Copy a network, its convolutions computing in float again.

    Args:
        network: of add_quantisers.

    Returns:
        The copy, with the same weights.
    """
    plain = copy.deepcopy(network)
    for module in plain.modules():
        module._forward_pre_hooks.clear()
        if isinstance(module, QuantisedConv2d):
            del module.quantiser
            module.__class__ = nn.Conv2d
    return plain


def quantisers(network: nn.Module) -> dict[str, Quantiser]:
    """
    Find what add_quantisers has added.

    Args:
        network: of any kind.

    Returns:
        Quantisers by the name of their convolution.
    """
    return {name: module.quantiser for name, module in network.named_modules()
            if isinstance(module, QuantisedConv2d)}


def _round_input(block: nn.Module, arguments: tuple[Any, ...]) -> Tensor:
    # the block as it is given: that of a copy has other quantisers
    first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    x, = arguments
    return first.quantiser.round_map(x) if isinstance(first, QuantisedConv2d) else x
