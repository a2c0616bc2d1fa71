"""Parts of all loaders: the interface, prefetching, views of images."""

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
        Yield the batches of an epoch (0-based), from first_batch on where it is resumed.

        The epoch decides order and augmentation. A DataError names an image that cannot be read.
        """
        ...


def made_ahead(make: Callable[[Plan], Made], plans: Iterable[Plan], workers: int
               ) -> Generator[Made, None, None]:
    """
    Yield what `make` returns for each plan, in their order, made ahead in threads.

    No thread is left when the caller stops early or `make` raises.
    """
    waiting_plans = iter(plans)
    pool = ThreadPoolExecutor(workers, 'augment')
    # one more than workers, so that no thread waits for the step to end
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
    """Decide what the network sees in a batch, all but the pixels; sizes_hw are as read."""
    draws = uniform_draws(config.seed, epoch, plan.places, plan.copies, DRAWS)
    augment = config.augment.in_epoch(epoch, config.training.epochs)
    return draw_views(objects_of(records), sizes_hw, plan.input_size_hw, augment, draws,
                      config.model.resize_mode)
