"""Measure what share of the training time the data path costs, both sides in one run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from statistics import median
import tempfile
import time
from typing import Any

import torch

from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.data.loading.batches import Loader
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.process.progress import with_progress

_STEADY = 8  # batches until the loader's head start is used up


@dataclass(frozen=True)
class Throughput:
    """Images a second, each the median over rounds."""

    device: str
    batch_size: int
    rounds: int
    steps: int  # of each measurement
    train_images_per_s: float  # read, decoded, augmented, learnt
    resident_images_per_s: float  # one batch in memory, repeated
    ratio: float  # median of the rounds' ratios

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return asdict(self)


def measure_training(config: TrainConfig, rounds: int = 5, steps: int = 20) -> Throughput:
    """Alternate training on the data and on one resident batch; nothing is kept."""
    with tempfile.TemporaryDirectory() as runs:
        trainer = Trainer(config, Path(runs))
        # the loader reuses kept decoded images from the second epoch on, so measure that
        for _ in with_progress('read once')(trainer.loader.epoch(0), len(trainer.loader)):
            pass
        resident = next(trainer.loader.epoch(0))
        epochs = with_progress('benchmark')(range(1, rounds + 1), rounds)
        found = [_measure_pair(trainer, resident, steps, epoch) for epoch in epochs]
    images = len(resident) * steps
    train, alone = ([images / pair[side] for pair in found] for side in (0, 1))
    return Throughput(
        str(trainer.learner.device), len(resident), rounds, steps, median(train),
        median(alone), median(ours / bare for ours, bare in zip(train, alone, strict=True)))


def _measure_pair(trainer: Trainer, resident: Batch, steps: int, epoch: int
                  ) -> tuple[float, float]:
    batches = _from_epoch(trainer.loader, epoch)
    for batch in islice(batches, _STEADY):
        trainer.learner.learn(batch)
    train_s = _seconds(trainer, islice(batches, steps))
    batches.close()  # stop its threads while the other side is measured
    resident = resident.to(trainer.learner.device)
    return train_s, _seconds(trainer, (resident for _ in range(steps)))


def _from_epoch(loader: Loader, first: int) -> Generator[Batch, None, None]:
    """Continue with the next epoch where one is short, as training does."""
    for epoch in count(first):
        yield from loader.epoch(epoch)


def _seconds(trainer: Trainer, batches: Iterator[Batch]) -> float:
    _wait(trainer.learner.device)
    started = time.perf_counter()
    for batch in batches:
        trainer.learner.learn(batch)
    _wait(trainer.learner.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
