"""
The steps that weights are rounded to for a CPU, so that no multiplication saturates.

x86-64 kernels without VNNI multiply the unsigned bytes of a map by signed ones of weights and add
two products in 16 bits, where what exceeds 32,767 is cut off. So two weights that can meet add up
to 128 at most, and 255 * 128 = 32,640; products of opposite sign cannot overflow.

Kernels take weights in the order in which they lie: two neighbours meet. A 1x1 convolution and a
matrix product have one order, that of the maps, and a depthwise filter that of its taps (though
ONNX Runtime adds those in 32 bits). Filters of several maps and taps are laid out in one way or
another: there it is any two of an output channel.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LARGEST, LARGEST_SUM = 127, 128  # of one integer, of two with the same sign
_LEAST = np.finfo(np.float32).tiny  # of a scale; smaller floats have few digits


def channel_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Choose the steps of weights, as fine as the bound allows.

    With weights / scale rounded half to even two of them reach 128 and not more: where both lie
    half way, one of the two is rounded down, as 64.5 + 63.5 is 64 + 64.

    Args:
        weights: (N, C, ...), of N output channels that read C maps.

    Returns:
        (N,) what one step is worth; 1 for a channel of zeros.
    """
    weights = np.asarray(weights, np.float32)
    sums = sums_of_two(weights.astype(np.float64)).max(axis=1)
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    scale = np.maximum(sums / LARGEST_SUM, largest / LARGEST).astype(np.float32)
    scale = np.where(scale >= _LEAST, scale, np.float32(1))
    # half way but for the last bit of a float both may be rounded up: a hardly larger step
    while (over := (sums_of_two(count_steps(weights, scale)) > LARGEST_SUM).any(axis=1)).any():
        scale = np.where(over, np.nextafter(scale, np.float32(np.inf)), scale)
    return scale


def count_steps(weights: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Round weights to whole steps.

    Args:
        weights: (N, ...) float32.
        scale: (N,) float32.

    Returns:
        (N, ...) integers as float32, the same that ONNX's QuantizeLinear gives.
    """
    return np.rint(weights / scale.reshape(-1, *(1,) * (weights.ndim - 1)))


def sums_of_two(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """
    Add the two weights of each sign that can meet and have the largest sum.

    Args:
        weights: (N, C, ...), of N output channels that read C maps.

    Returns:
        (N, 2): of the positive ones, and the magnitude of the sum of the negative ones.
    """
    rows = weights.reshape(len(weights), -1)
    signs = np.maximum(np.stack([rows, -rows], axis=1), 0)  # (N, 2, K)
    if rows.shape[1] == 1:
        return signs[..., 0]
    if has_one_order(weights):
        return (signs[..., :-1] + signs[..., 1:]).max(axis=-1)
    return np.partition(signs, -2, axis=-1)[..., -2:].sum(axis=-1)


def has_one_order(weights: NDArray[np.generic]) -> bool:
    """
    Tell whether the weights of an output channel lie in one order in every kernel.

    Args:
        weights: (N, C, ...).

    Returns:
        False for filters of several maps and taps.
    """
    return weights.shape[1] == 1 or math.prod(weights.shape[2:]) == 1
