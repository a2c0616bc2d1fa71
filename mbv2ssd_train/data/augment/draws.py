"""
Random numbers that depend only on seed, epoch, image and repetition.

Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11) encrypts a
counter, so thread, process and batch have no influence, and one call draws for many images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counters: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Encrypt counters (4, ...); inputs and results are below 2 ** 32."""
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
    Draw (B, count) numbers in [0, 1) for images.

    places and copies are (B,): index in the data, and earlier showings in this epoch (0-based).
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
