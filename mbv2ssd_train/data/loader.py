"""
Batches in a fixed random order.

Every image's randomness comes from (seed, epoch, place in the data), so a batch is the same
whatever was made before it and whichever thread makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
import torch

from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment import augment, Objects
from mbv2ssd_train.data.batch import Batch, make_batch
from mbv2ssd_train.data.dataset import Dataset


class TrainLoader:
    """Augmented batches, made one ahead in a thread of their own."""

    def __init__(self, datasets: Sequence[Dataset], input_size_hw: tuple[int, int],
                 batch_size: int, config: AugmentConfig, seed: int, resize_mode: str = 'stretch'
                 ) -> None:
        """
        Chain data sets.

        Args:
            datasets: one after the other.
            input_size_hw: of the network.
            batch_size: images; the last, smaller batch of an epoch is left out.
            config: augmentation.
            seed: of order and augmentation.
            resize_mode: of the model.
        """
        self._places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        self._input_size_hw = input_size_hw
        self._batch_size = min(batch_size, len(self._places))
        self._config = config
        self._seed = seed
        self._resize_mode = resize_mode

    def __len__(self) -> int:
        return len(self._places) // self._batch_size

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """
        Go through the data once.

        Args:
            epoch: 0-based; decides order and augmentation.
            first_batch: to begin with, where an interrupted epoch goes on.

        Yields:
            Batches in the order of this epoch.
        """
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._places))
        chunks = [order[k * self._batch_size:(k + 1) * self._batch_size]
                  for k in range(first_batch, len(self))]
        with ThreadPoolExecutor(1, 'augment') as pool:
            # two under way: the next batch is ready when the step ends
            waiting = [pool.submit(self._make, epoch, chunk) for chunk in chunks[:2]]
            for chunk in [*chunks[2:], None, None][:len(chunks)]:
                batch = waiting.pop(0).result()
                if chunk is not None:
                    waiting.append(pool.submit(self._make, epoch, chunk))
                yield batch

    def _make(self, epoch: int, places: NDArray[np.intp]) -> Batch:
        images = np.empty((len(places), *self._input_size_hw, 3), dtype=np.uint8)
        objects, sources = [], []
        for place, slot in zip(places, images, strict=True):
            dataset, index = self._places[place]
            record = dataset.records[index]
            rng = np.random.default_rng((self._seed, epoch, int(place)))
            objects.append(augment(
                dataset.image(index), Objects(record.boxes_xyxy, record.labels, record.difficult),
                slot, self._config, rng, self._resize_mode))
            sources.append(record.source)
        return make_batch(torch.from_numpy(images), objects, sources)
