"""
The steps that weights are rounded to for a CPU, so that no multiplication saturates.

x86-64 kernels without VNNI multiply unsigned bytes of a map by signed ones of weights and add two
products in 16 bits, saturating at 32,767. So two weights that can meet add up to 128 at most, and
255 * 128 = 32,640; products of opposite sign cannot overflow.

Kernels read weights in memory order: two neighbours meet. A 1x1 convolution and a matrix product
have one order, that of the maps, and a depthwise filter that of its taps (though ONNX Runtime adds
those in 32 bits). The layout of filters of several maps and taps varies between kernels: there any
two of an output channel can meet.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LARGEST, LARGEST_SUM = 127, 128  # of one integer, of two with the same sign
_LEAST = np.finfo(np.float32).tiny  # of a scale; smaller floats have few digits


def channel_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Choose the (N,) step sizes of weights (N, C, ...), as fine as the bound allows.

    Two of weights / scale, rounded half to even, reach 128 at most: where both are half way, one
    is rounded down, as 64.5 + 63.5 is 64 + 64. A channel of zeros has the scale 1.
    """
    weights = np.asarray(weights, np.float32)
    sums = sums_of_two(weights.astype(np.float64)).max(axis=1)
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    scale = np.maximum(sums / LARGEST_SUM, largest / LARGEST).astype(np.float32)
    scale = np.where(scale >= _LEAST, scale, np.float32(1))
    # within the last bit of half way both may be rounded up: take the next larger step
    while (over := (sums_of_two(count_steps(weights, scale)) > LARGEST_SUM).any(axis=1)).any():
        scale = np.where(over, np.nextafter(scale, np.float32(np.inf)), scale)
    return scale


def count_steps(weights: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round (N, ...) by scale (N,) to integers as float32, as ONNX's QuantizeLinear does."""
    return np.rint(weights / scale.reshape(-1, *(1,) * (weights.ndim - 1)))


def sums_of_two(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the largest |sum| (N, 2) of two positive, of two negative weights that can meet."""
    rows = weights.reshape(len(weights), -1)
    signs = np.maximum(np.stack([rows, -rows], axis=1), 0)  # (N, 2, K)
    if rows.shape[1] == 1:
        return signs[..., 0]
    if has_one_order(weights):
        return (signs[..., :-1] + signs[..., 1:]).max(axis=-1)
    return np.partition(signs, -2, axis=-1)[..., -2:].sum(axis=-1)


def has_one_order(weights: NDArray[np.generic]) -> bool:
    """Return whether all kernels store weights (N, C, ...) of an output channel in one order."""
    return weights.shape[1] == 1 or math.prod(weights.shape[2:]) == 1
