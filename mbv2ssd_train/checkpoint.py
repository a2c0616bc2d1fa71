"""Checkpoints: everything a run needs to go on, and a model needs to be used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import os
from pathlib import Path
from typing import Any

import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import parse_config, TrainConfig

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a number of steps."""

    config: str  # YAML of the whole configuration
    step: int  # optimizer steps made
    model: dict[str, Any]  # weights as trained
    averaged: dict[str, Any]  # their moving average, which is what is evaluated and exported
    optimizer: dict[str, Any]
    best_map: float  # on the validation split, -1 before the first evaluation
    map_50: float | None  # of `averaged` on the validation split, where it was measured
    format: int = FORMAT

    def parsed_config(self) -> TrainConfig:
        """Return the configuration of the run."""
        return parse_config(self.config, 'the configuration in the checkpoint')

    def save(self, path: Path) -> None:
        """
        Write the file whole or not at all.

        Args:
            path: replaced when the new file is complete on disk.
        """
        partial = path.with_name(f'{path.name}.partial')
        with partial.open('wb') as file:
            torch.save(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """
    Read a checkpoint; executes no code from the file.

    Args:
        path: of a file written by Checkpoint.save.

    Returns:
        The checkpoint, tensors on the CPU.

    Raises:
        DataError: no such file, or not a checkpoint of this version.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f'{source}: no such checkpoint')
    try:
        found = torch.load(source, map_location='cpu', weights_only=True)
        if found['format'] != FORMAT:
            raise DataError(f'{source}: checkpoint format {found["format"]}, this package reads '
                            f'{FORMAT}; use the version of the package that wrote it')
        return Checkpoint(**found)
    except DataError:
        raise
    except Exception as err:  # torch.load's errors have no common base
        raise DataError(f'{source}: not a checkpoint of mbv2ssd_train: {err}') from err
