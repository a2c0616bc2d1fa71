"""Build all that a configuration describes and try one step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import resource
import tempfile
import time

import torch

from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.engine import Trainer


def dry_run(config: TrainConfig) -> Iterator[str]:
    """
    Open the data, build the network, learn from one batch; yield lines to print, keep nothing.

    Raises the Mbv2SsdError that training would end with.
    """
    with tempfile.TemporaryDirectory() as runs:
        trainer = Trainer(config, Path(runs))
        yield trainer.describe()
        if trainer.start_report:
            yield trainer.start_report
        for level in config.model.prior_levels():
            rows, columns = level.feature_size_hw
            yield (f'  map of {rows} x {columns} cells: {len(level.shapes_wh)} shapes, '
                   f'{level.count} priors')
        batch = next(iter(trainer.loader.epoch(0)))
        if len(batch) < config.training.batch_size:
            yield (f'training.batch_size is {config.training.batch_size}, but there are only '
                   f'{len(batch)} training images')
        started = time.perf_counter()
        result = trainer.learner.learn(batch)
        seconds = time.perf_counter() - started
        yield (f'one step of {len(batch)} images: {seconds:.2f} s, the first being the '
               f'slowest; loss {result.loss:.2f}, {result.positives} positive and '
               f'{result.negatives} negative priors')
        if batch.images.device.type == 'cuda':
            peak_mb = torch.cuda.max_memory_allocated(batch.images.device) / 1e6
            yield f'peak GPU memory {peak_mb:.0f} MB'
        # ru_maxrss is in KiB on Linux
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        yield f'peak memory {peak_mb:.0f} MB, without decoded images (data.keep)'
