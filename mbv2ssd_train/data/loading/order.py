"""
Which images each batch of an epoch holds, the same on every machine and in every process.

An epoch has as many images as the data, less what does not fill a batch. Sampled uniformly, it
shows every image once. Sampled by classes (repeat factors, arXiv:1908.03195, section 4.1), an
image is shown more often the rarer its rarest class is, and others less often, so that the
length stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.dataset import ImageRecord

_SIZES = 1  # what else than the order is drawn from (seed, epoch)


@dataclass(frozen=True)
class BatchPlan:
    """The share of one process in a batch."""

    places: NDArray[np.intp]  # (B,) of the images in the data
    copies: NDArray[np.intp]  # (B,) how many times each was shown in this epoch before
    input_size_hw: tuple[int, int]  # of the whole batch


class EpochOrder:
    """The batches of every epoch."""

    def __init__(self, records: Sequence[ImageRecord], config: TrainConfig, rank: int = 0,
                 world_size: int = 1) -> None:
        """
        Prepare the order.

        Args:
            records: of all data, one after the other.
            config: of the experiment.
            rank: of this process; it makes every world_size-th image of each batch.
            world_size: number of processes.

        Raises:
            ConfigError: the batch cannot be shared evenly, or the network cannot have an input
                of some size.
            DataError: there are fewer images than processes.
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
        """
        List the batches of an epoch.

        Args:
            epoch: 0-based.
            first_batch: to begin with, where an interrupted epoch goes on.

        Returns:
            The share of this process in each of them.
        """
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
    Say how much more often than others an image should be seen.

    Args:
        records: of the images.
        repeat_below: share of the images; a class that fewer show is repeated.

    Returns:
        (I,): for each image the largest sqrt(repeat_below / share) of its classes, at least 1.
        Difficult objects, from which nothing is learnt, do not count.
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
    """Take each place as often as expected, rounded up or down; as many as there are places."""
    ends = np.floor(np.cumsum(expected[places]) + start)
    ends[-1] = len(places)  # whatever the rounding of the sum
    return np.repeat(places, np.diff(ends, prepend=0).astype(int))


def _copies_before(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count for each place how many times it stands there before."""
    order = np.argsort(places, kind='stable')
    ordered = places[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    copies = np.empty_like(places)
    copies[order] = np.arange(len(places)) - np.repeat(begins, np.diff(begins,
                                                                      append=len(places)))
    return copies
