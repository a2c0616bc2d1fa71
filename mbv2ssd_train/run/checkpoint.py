"""Checkpoints: everything to resume a run or to use its model."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, MISSING
import os
from pathlib import Path
import pickle
from typing import Any

import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import parse_config, TrainConfig
from mbv2ssd_train.data.identity import Learnt
from mbv2ssd_train.run.data_record import DataRecord

FORMAT = 2


@dataclass(frozen=True)
class RunState:
    """The progress of a run."""

    step: int = 0  # optimizer steps made
    epoch: int = 0  # of the next step, 0-based
    batch: int = 0  # of the next step in its epoch, position to resume from
    evaluated_epoch: int = 0  # epochs completed at the last evaluation
    best_map: float = -1.0  # on the validation split, -1 before the first evaluation
    best_epoch: int = 0  # epochs completed at best_map
    stale_evaluations: int = 0  # since the best one


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a number of steps."""

    config: str  # YAML of the whole configuration
    fingerprints: dict[str, str]  # arch and recipe
    class_names: tuple[str, ...]
    state: dict[str, Any]  # of RunState
    model: dict[str, Any]  # weights as trained
    averaged: dict[str, Any]  # their moving average, for evaluation and export
    learner: dict[str, Any]  # optimizer and loss scaler
    random: dict[str, Any]  # states of torch's generators; images have their own by (seed, place)
    map_50: float | None  # of `averaged` on the validation split, where it was measured
    data: dict[str, str] = field(default_factory=dict)  # of DataRecord; {} of older versions
    format: int = FORMAT

    def parsed_config(self) -> TrainConfig:
        """Return the configuration of the run."""
        return parse_config(self.config, 'the configuration in the checkpoint')

    def parsed_state(self) -> RunState:
        """Return the progress of the run."""
        return RunState(**self.state)

    def learnt(self) -> Learnt | None:
        """Return what the weights learnt from; None where the checkpoint does not say."""
        return DataRecord.from_dict(self.data).learnt if self.data else None

    def require_run(self, source: Path | str) -> None:
        """Raise DataError for imported weights: they have no run to resume."""
        if not self.learner:
            raise DataError(f'{source}: imported weights, not a run to resume; '
                            'start one with model.weights')

    def save(self, path: Path) -> None:
        """Write and sync the file; OSError on a full disk. CheckpointStore renames it."""
        with path.open('wb') as file:
            try:
                torch.save(vars(self), file)  # not asdict, which would copy every tensor
            except RuntimeError as err:  # PyTorch's error where a file cannot be written
                if isinstance(err.__context__, OSError):
                    raise err.__context__ from None
                raise
            file.flush()
            os.fsync(file.fileno())


def random_state() -> dict[str, Any]:
    """Return the state of torch's generators."""
    return {'cpu': torch.get_rng_state(), 'cuda': torch.cuda.get_rng_state_all()}


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore random_state; the states of missing GPUs are left out."""
    torch.set_rng_state(state['cpu'])
    for index, value in enumerate(state['cuda'][:torch.cuda.device_count()]):
        torch.cuda.set_rng_state(value, index)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """
    Read a checkpoint, tensors on the CPU; executes no code from the file.

    Raises DataError where it is missing or not a checkpoint of this version.
    """
    source = Path(path)
    if source.is_dir():
        raise DataError(f'{source}: is a folder; the checkpoints of a run are '
                        f'{source}/checkpoints/best.pt and last.pt')
    if not source.is_file():
        raise DataError(f'{source}: no such checkpoint')
    try:
        found = torch.load(source, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as err:  # its message advises to run the file's code
        raise DataError(f'{source}: not a checkpoint of mbv2ssd_train: not written by torch.save, '
                        'or with more in it than tensors and plain values') from err
    except Exception as err:  # torch.load's errors have no common base
        others = sorted(path.name for path in source.parent.glob('step_*.pt') if path != source)
        hint = f'. Replace it by one of {", ".join(others)}' if others else ''
        raise DataError(f'{source}: not a checkpoint of mbv2ssd_train: {err}{hint}') from err
    if not isinstance(found, dict) or 'format' not in found:
        raise DataError(f'{source}: not a checkpoint of mbv2ssd_train; weights of torchvision '
                        'are for model.backbone_weights or `mbv2ssd_train import-weights`')
    if found['format'] != FORMAT:
        raise DataError(f'{source}: checkpoint format {found["format"]}, this package reads '
                        f'{FORMAT}; use the version of the package that wrote it')
    missing = sorted({item.name for item in fields(Checkpoint)
                      if item.default_factory is MISSING} - set(found))
    if missing:
        raise DataError(f'{source}: the checkpoint lacks {", ".join(missing)}; is it complete?')
    return Checkpoint(**found)
