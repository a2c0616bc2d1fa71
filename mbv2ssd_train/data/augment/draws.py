"""
Random numbers that depend on nothing but what they are for.

Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11) encrypts a
counter: the numbers of one image in one epoch are the same whichever thread, process or batch
asks for them, and those of many images are made at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counters: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """
    Encrypt counters.

    Args:
        counters: (4, ...) of values below 2 ** 32.
        key: two values below 2 ** 32.

    Returns:
        (4, ...) of values below 2 ** 32, each of them random.
    """
    first, second, third, fourth = counters
    for step in range(_ROUNDS):
        keys = [np.uint64((part + step * add) % 2 ** 32)
                for part, add in zip(key, _KEY_STEPS, strict=True)]
        one, other = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]  # of 64 bits
        first, second, third, fourth = (
            (other >> _HALF) ^ second ^ keys[0], other & _LOW,
            (one >> _HALF) ^ fourth ^ keys[1], one & _LOW)
    return np.stack([first, second, third, fourth])


def uniform_draws(seed: int, epoch: int, places: NDArray[np.integer],
                  copies: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """
    Draw the numbers of some images.

    Args:
        seed: of the run, 0 or more.
        epoch: 0-based.
        places: (B,) of the images in the data.
        copies: (B,) how many times each was shown in this epoch before.
        count: of numbers for each image.

    Returns:
        (B, count) in [0, 1).
    """
    low, high = np.random.SeedSequence(seed).generate_state(2).tolist()
    blocks = -(-count // 4)
    counters = np.empty((4, len(places), blocks), dtype=np.uint64)
    counters[0] = np.arange(blocks)
    counters[1] = np.asarray(places)[:, None]
    counters[2] = np.asarray(copies)[:, None]
    counters[3] = epoch
    words = philox(counters, (low, high)).transpose(1, 2, 0).reshape(len(places), -1)
    return words[:, :count] * 2.0 ** -32
