"""
Batches in a fixed random order.

Each image draws from (seed, epoch, place in the data): its result does not depend on earlier
batches, threads or processes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial

import cv2
import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.augment.render import render
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.data.loading.batch import Batch, make_batch
from mbv2ssd_train.data.loading.batches import Loader, made_ahead, views_of
from mbv2ssd_train.data.loading.order import BatchPlan, EpochOrder


def open_loader(datasets: Sequence[Dataset], config: TrainConfig, device: torch.device,
                rank: int = 0, world_size: int = 1) -> Loader:
    """
    Make the loader that data.keep selects; its batches are on the device or in main memory.

    Raises ConfigError where processes cannot share a batch evenly, DataError where the data do not
    fit on the device or an image cannot be read.
    """
    if config.data.keep == 'device':
        from mbv2ssd_train.data.loading.device import DeviceLoader
        return DeviceLoader(datasets, config, device, rank, world_size)
    return TrainLoader(datasets, config, rank, world_size, pin=device.type == 'cuda')


class TrainLoader:
    """Make batches ahead in threads: OpenCV and numpy work without the GIL."""

    def __init__(self, datasets: Sequence[Dataset], config: TrainConfig, rank: int = 0,
                 world_size: int = 1, pin: bool = False) -> None:
        self._places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        self._order = EpochOrder([dataset.records[index] for dataset, index in self._places],
                                 config, rank, world_size)
        self._config, self._pin = config, pin

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, first_batch: int = 0) -> Generator[Batch, None, None]:
        """Yield batches in main memory; see Loader."""
        yield from made_ahead(partial(self._make, epoch), self._order.plans(epoch, first_batch),
                              self._config.data.workers)

    def _make(self, epoch: int, plan: BatchPlan) -> Batch:
        chosen = [self._places[place] for place in plan.places]
        records = [dataset.records[index] for dataset, index in chosen]
        sources = [record.source for record in records]
        pixels = [dataset.image(index) for dataset, index in chosen]
        views, objects = views_of(
            plan, epoch, records, [(image.shape[0], image.shape[1]) for image in pixels],
            self._config)
        images = torch.empty((len(chosen), *plan.input_size_hw, 3), dtype=torch.uint8,
                             pin_memory=self._pin)
        try:
            render(pixels, views, images.numpy())
        except cv2.error as err:
            raise DataError(f'one of {", ".join(sources)} cannot be resized: {err}') from err
        return make_batch(images, objects, sources)
