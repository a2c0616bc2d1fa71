"""What every loader is and shares: batches ahead of their use, views of images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.augment.draws import uniform_draws
from mbv2ssd_train.data.augment.geometry import draw_views, DRAWS, Objects, objects_of, Views
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.data.loading.order import BatchPlan

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
