"""Weights and images that anybody can make again: no file of theirs is kept."""

from collections.abc import Mapping
from math import prod, sqrt
import re
import zlib

import numpy as np
import torch

SMALL_PIXELS = 1 / 64  # VGG16 sees values around 100; without BatchNorm they would go through


def seeded_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Give each tensor of a torchvision state dict values that depend on its name alone."""
    return {name: torch.from_numpy(_values(name, shape)) for name, shape in shapes.items()}


def _values(name, shape):
    kind = name.rpartition('.')[2]
    if kind == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    low, high = {'running_mean': (-0.2, 0.2), 'running_var': (0.5, 1.5), 'bias': (-0.2, 0.2),
                 'scale_weight': (15, 25)}.get(kind, (0.7, 1.3))  # last: scales of BatchNorm
    if len(shape) == 4:
        high = sqrt(6 / prod(shape[1:])) * _gain(name)  # keeps the size of what passes through
        low = -high
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return (low + (high - low) * rng.random(shape)).astype(np.float32)


def _gain(name):
    if name == 'backbone.features.0.weight':
        return SMALL_PIXELS
    if '.block.' in name:  # what they add up to would go on growing
        return 0.75
    if re.fullmatch(r'head\..*\.module_list\.\d\.weight', name):  # of VGG16, whose maps are large
        return 0.3
    return 3.0 if re.fullmatch(r'head\.class.*\.module_list\.\d\.1\.weight', name) else 1.0


def seeded_image(size_hw, seed):
    """Make a picture of coloured blocks of 10 pixels, (H, W, 3) uint8; sides a multiple of 10."""
    rng = np.random.Generator(np.random.PCG64(seed))
    blocks = (256 * rng.random((size_hw[0] // 10, size_hw[1] // 10, 3))).astype(np.uint8)
    return blocks.repeat(10, axis=0).repeat(10, axis=1)
