"""
Batches in a fixed random order.

Every image's randomness comes from (seed, epoch, place in the data), so a batch is the same
whatever was made before it, whichever thread makes it, and however many processes share it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import cv2
import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.augment.draws import uniform_draws
from mbv2ssd_train.data.augment.geometry import draw_views, DRAWS, Objects, objects_of, Views
from mbv2ssd_train.data.augment.render import render
from mbv2ssd_train.data.dataset import Dataset, ImageRecord
from mbv2ssd_train.data.loading.batch import Batch, make_batch
from mbv2ssd_train.data.loading.order import BatchPlan, EpochOrder

Plan = TypeVar('Plan')
Made = TypeVar('Made')


class Loader(Protocol):
    """Augmented batches of an epoch."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, first_batch: int = 0) -> Generator[Batch, None, None]:
        """
        Go through the data once.

        Args:
            epoch: 0-based; decides order and augmentation.
            first_batch: to begin with, where an interrupted epoch goes on.

        Yields:
            Batches in the order of this epoch.

        Raises:
            DataError: an image cannot be read; names it.
        """
        ...


def open_loader(datasets: Sequence[Dataset], config: TrainConfig, device: torch.device,
                rank: int = 0, world_size: int = 1) -> Loader:
    """
    Make the loader that data.keep asks for.

    Args:
        datasets: one after the other.
        config: of the experiment.
        device: that learns.
        rank: of this process.
        world_size: number of processes.

    Returns:
        Batches on the device where the data are kept there, else in main memory.

    Raises:
        ConfigError: the batch size cannot be shared evenly.
        DataError: the data do not fit on the device, or an image cannot be read.
    """
    if config.data.keep == 'device':
        from mbv2ssd_train.data.loading.device import DeviceLoader
        return DeviceLoader(datasets, config, device, rank, world_size)
    return TrainLoader(datasets, config, rank, world_size, pin=device.type == 'cuda')


def made_ahead(make: Callable[[Plan], Made], plans: Iterable[Plan], workers: int
               ) -> Generator[Made, None, None]:
    """
    Make things in threads, a few of them ahead of where they are wanted.

    Args:
        make: called in a thread.
        plans: of what to make.
        workers: number of threads.

    Yields:
        What was made, in the order of the plans. Where it is given up early, or something
        cannot be made, no thread is left behind.
    """
    waiting_plans = iter(plans)
    pool = ThreadPoolExecutor(workers, 'augment')
    # one more than workers: none of them waits for the step to end
    under_way = deque(pool.submit(make, plan) for plan in islice(waiting_plans, workers + 1))
    try:
        while under_way:
            made = under_way.popleft().result()
            under_way.extend(pool.submit(make, plan) for plan in islice(waiting_plans, 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def views_of(plan: BatchPlan, epoch: int, records: Sequence[ImageRecord],
             sizes_hw: Sequence[tuple[int, int]], config: TrainConfig) -> tuple[Views, Objects]:
    """
    Decide what the network sees in a batch; everything but the pixels.

    Args:
        plan: of the batch.
        epoch: 0-based.
        records: of its images.
        sizes_hw: of its images as they are read.
        config: of the experiment.

    Returns:
        The views, and the objects in them.
    """
    draws = uniform_draws(config.seed, epoch, plan.places, plan.copies, DRAWS)
    augment = config.augment.in_epoch(epoch, config.training.epochs)
    return draw_views(objects_of(records), sizes_hw, plan.input_size_hw, augment, draws,
                      config.model.resize_mode)


class TrainLoader:
    """Batches made ahead by threads of this process: OpenCV and numpy work without the GIL."""

    def __init__(self, datasets: Sequence[Dataset], config: TrainConfig, rank: int = 0,
                 world_size: int = 1, pin: bool = False) -> None:
        """
        Chain data sets.

        Args:
            datasets: one after the other.
            config: of the experiment.
            rank: of this process; it makes every world_size-th image of each batch.
            world_size: number of processes.
            pin: put images where a GPU can fetch them while it computes.

        Raises:
            ConfigError: the batch size cannot be shared evenly.
        """
        self._places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        self._order = EpochOrder([dataset.records[index] for dataset, index in self._places],
                                 config, rank, world_size)
        self._config, self._pin = config, pin

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, first_batch: int = 0) -> Generator[Batch, None, None]:
        """
        Go through the data once; see Loader.

        Args:
            epoch: 0-based; decides order and augmentation.
            first_batch: to begin with.

        Yields:
            Batches in main memory.
        """
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
