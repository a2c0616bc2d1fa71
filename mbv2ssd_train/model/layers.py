"""Convolutions of MobileNets: fast with frozen BatchNorm and on two CPU cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.model.fake_quantise import QuantisedConv2d


class _Bf16Depthwise(torch.autograd.Function):
    """
    A depthwise convolution whose gradient in bfloat16 does not take ten times its forward.

    The gradient of the input is a depthwise convolution too: the kernel rotated by 180 degrees,
    over the incoming gradient with zeros between its pixels. For stride 2 in bfloat16 torch takes
    a slow path (61 ms against 2 ms forward for 96 channels, 80 px).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, before: int, after: int
                ) -> Tensor:
        ctx.size, ctx.stride, ctx.before = x.shape[-2:], stride, before
        padding = before
        if before != after:
            x, padding = F.pad(x, (before, after, before, after)), 0
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, None, stride, padding, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor  # type: ignore[override]
                 ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _depthwise_input_gradient(weight, grad, ctx.size, ctx.stride, ctx.before)
        if ctx.needs_input_grad[1]:
            grad_weight = nn.grad.conv2d_weight(
                x, list(weight.shape), grad, ctx.stride, ctx.padding, groups=weight.shape[0])
        return grad_x, grad_weight, None, None, None


def _depthwise_input_gradient(weight: Tensor, grad: Tensor, size_hw: tuple[int, int],
                              stride: int, padding: int) -> Tensor:
    """Convolve the dilated gradient with the rotated kernel; (B, C, H, W)."""
    channels, kernel = weight.shape[0], weight.shape[-1]
    turned, reach = weight.flip((2, 3)), kernel - 1 - padding
    if stride == 1:
        return F.conv2d(grad, turned, None, 1, reach, groups=channels)
    height, width = size_hw[0] + kernel - 1, size_hw[1] + kernel - 1
    spread = torch.empty((grad.shape[0], channels, height, width), dtype=grad.dtype,
                         device=grad.device, memory_format=torch.channels_last).zero_()
    spread[:, :, reach::stride, reach::stride][:, :, :grad.shape[2], :grad.shape[3]] = grad
    return F.conv2d(spread, turned, None, 1, 0, groups=channels)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, conv: nn.Conv2d,
             tensorflow_padding: bool) -> Tensor:
    """
    Apply `conv` to (B, C, H, W) with `weight` and `bias` in place of its own.

    tensorflow_padding pads a stride-2 convolution as TensorFlow does: at the right and bottom only
    where the side is even.
    """
    if isinstance(conv, QuantisedConv2d):
        x, weight = conv.quantiser.round_map(x), conv.quantiser.round_weight(weight)
    stride, padding = conv.stride[0], int(conv.padding[0])  # type: ignore[arg-type]
    odd_h, odd_w = x.shape[-2] % 2, x.shape[-1] % 2
    shifted = tensorflow_padding and stride == 2 and padding == 1 and not (odd_h and odd_w)
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    if (depthwise and odd_h == odd_w and torch.is_grad_enabled() and x.device.type == 'cpu'
            and torch.is_autocast_enabled('cpu')):
        low = torch.get_autocast_dtype('cpu')
        y: Tensor = _Bf16Depthwise.apply(
            x.to(low), weight.to(low), stride, 0 if shifted else padding, padding)
        return y if bias is None else y + bias.to(low)[:, None, None]
    if shifted:
        x, padding = F.pad(x, (odd_w, 1, odd_h, 1)), 0
    return F.conv2d(x, weight, bias, stride, padding, groups=conv.groups)


def convolve_normalise(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d | nn.Identity,
                       tensorflow_padding: bool = False) -> Tensor:
    """
    Apply a convolution and its BatchNorm, (B, C, H, W) to (B, C', H', W').

    In eval mode scale and shift of the BatchNorm are multiplied into the weights (one convolution)
    and still learn. norm is Identity where it is already folded; only then has conv a bias.
    """
    if isinstance(norm, nn.Identity):
        return convolve(x, conv.weight, conv.bias, conv, tensorflow_padding)
    if norm.training:
        return norm(convolve(x, conv.weight, None, conv, tensorflow_padding))
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    shift = norm.bias - norm.running_mean * scale  # type: ignore[operator]
    return convolve(x, conv.weight * scale[:, None, None, None], shift, conv, tensorflow_padding)


def initialise(draw: Callable[[Tensor], object], *parts: nn.Module) -> None:
    """Draw the weights of all convolutions, in place; biases become 0."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                draw(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class NormSettings:
    """Settings of a network's BatchNorms; the defaults are PyTorch's."""

    eps: float = 1e-5
    momentum: float = 0.1

    def layer(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)


DEFAULT_NORM = NormSettings()


class ConvNormAct(nn.Sequential):
    """Convolution, BatchNorm and activation under torchvision's key names 0, 1, 2."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1,
                 groups: int = 1, tensorflow_padding: bool = False,
                 activation: type[nn.Module] | None = nn.ReLU6,
                 norm: NormSettings = DEFAULT_NORM) -> None:
        """Build the layers; activation None is linear, tensorflow_padding as in convolve."""
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups,
                      bias=False),
            norm.layer(out_channels),
            *([] if activation is None else [activation(inplace=True)]))
        self.tensorflow_padding = tensorflow_padding

    def forward(self, x: Tensor) -> Tensor:
        conv, norm, *activations = self
        y = convolve_normalise(x, conv, norm, self.tensorflow_padding)
        for activation in activations:
            y = activation(y)
        return y
