"""
Which images each batch of an epoch holds, the same on every machine and in every process.

An epoch has as many images as the data, less an incomplete last batch. Class-balanced sampling
(repeat factors, arXiv:1908.03195, section 4.1) repeats images of rare classes at that length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.dataset import ImageRecord

_SIZES = 1  # stream of the input sizes; the order is drawn from (seed, epoch) alone


@dataclass(frozen=True)
class BatchPlan:
    """The share of one process in a batch."""

    places: NDArray[np.intp]  # (B,) of the images in the data
    copies: NDArray[np.intp]  # (B,) how many times each was shown in this epoch before
    input_size_hw: tuple[int, int]  # of the whole batch


class EpochOrder:
    """The batches of every epoch; a process makes every world_size-th image of each batch."""

    def __init__(self, records: Sequence[ImageRecord], config: TrainConfig, rank: int = 0,
                 world_size: int = 1) -> None:
        """
        Prepare the order.

        Raises ConfigError where the batch cannot be shared evenly or an input size does not fit
        the network, DataError where there are fewer images than processes.
        """
        batch_size = config.training.batch_size
        if batch_size % world_size:
            raise ConfigError(
                f'training.batch_size is {batch_size}, of all processes together, and cannot be '
                f'shared by {world_size} of them; choose a multiple of {world_size}')
        if len(records) < world_size:
            raise DataError(f'{len(records)} images for {world_size} processes')
        self._batch_size = min(batch_size, len(records) // world_size * world_size)
        self._images = len(records)
        self._expected = _expected_shows(records, config)
        self._sizes = _input_sizes(config)
        self._seed, self._rank, self._world_size = config.seed, rank, world_size

    def __len__(self) -> int:
        return self._images // self._batch_size

    def plans(self, epoch: int, first_batch: int = 0) -> list[BatchPlan]:
        """List this process's share of each batch; first_batch resumes an interrupted epoch."""
        rng = np.random.default_rng((self._seed, epoch))
        places = rng.permutation(self._images)
        if self._expected is not None:
            places = rng.permutation(_systematic_sample(places, self._expected, rng.random()))
        copies = _copies_before(places)
        sizes = np.random.default_rng((self._seed, epoch, _SIZES)).integers(
            len(self._sizes), size=len(self))
        chunks = [slice(k * self._batch_size + self._rank, (k + 1) * self._batch_size,
                        self._world_size) for k in range(len(self))]
        return [BatchPlan(places[chunk], copies[chunk], self._sizes[size])
                for chunk, size in zip(chunks, sizes, strict=True)][first_batch:]


def repeat_factors(records: Sequence[ImageRecord], repeat_below: float) -> NDArray[np.float64]:
    """
    Return (I,) how much more often each image is shown than others, at least 1.

    The largest sqrt(repeat_below / share) of its classes, share being that of the images with the
    class. Difficult objects do not count: they are not learnt.
    """
    classes = [np.unique(record.labels[~record.difficult]) for record in records]
    shares = np.bincount(np.concatenate([*classes, [0]])) / len(records)
    return np.array([
        np.sqrt(repeat_below / shares[labels]).max(initial=1.0) for labels in classes])


def _input_sizes(config: TrainConfig) -> tuple[tuple[int, int], ...]:
    sizes = config.augment.input_sizes_hw or (config.model.input_size_hw,)
    for size_hw in sizes:
        try:  # now rather than at the first batch of that size
            config.model.prior_levels(size_hw)
        except ConfigError as err:
            raise ConfigError(f'network input {list(size_hw)} (augment.input_sizes_hw, or '
                              f'model.input_size_hw): {err}') from err
    return sizes


def _expected_shows(records: Sequence[ImageRecord], config: TrainConfig
                    ) -> NDArray[np.float64] | None:
    if config.data.sampling == 'uniform':
        return None
    factors = repeat_factors(records, config.data.repeat_below)
    return factors * (len(records) / factors.sum())


def _systematic_sample(places: NDArray[np.intp], expected: NDArray[np.float64], start: float
                       ) -> NDArray[np.intp]:
    """Repeat each place as expected, rounded up or down; the total stays the same."""
    ends = np.floor(np.cumsum(expected[places]) + start)
    ends[-1] = len(places)  # whatever the rounding of the sum
    return np.repeat(places, np.diff(ends, prepend=0).astype(int))


def _copies_before(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count the earlier occurrences of each place."""
    order = np.argsort(places, kind='stable')
    ordered = places[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    copies = np.empty_like(places)
    copies[order] = np.arange(len(places)) - np.repeat(begins, np.diff(begins,
                                                                      append=len(places)))
    return copies
