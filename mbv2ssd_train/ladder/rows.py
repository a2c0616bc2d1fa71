"""
A ladder of experiments: a baseline, rows that change one thing each, and their results.

A row is a configuration file `NUMBER_ROW.yaml`, usually `based_on` another one. Results are read
from the run folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
import json
import os
from pathlib import Path
import re
import shlex
from typing import Any

import torch

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import load_config, ModelConfig, TrainConfig
from mbv2ssd_train.config.compose import BASE
from mbv2ssd_train.model.cost import count_macs, count_parameters
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.run.folder import read_status, RunFolder, RunStatus
from mbv2ssd_train.run.metrics_file import MetricsFile
from mbv2ssd_train.strict_yaml import parse_yaml

SUCCESS, NOT_RUN = 'success', 'not run'
TEST_FILE = 'test.json'  # in a run folder: result of `eval` for the ladder
_FILE_NAME = re.compile(r'\d+_(\w+)')


@dataclass(frozen=True)
class Row:
    """One experiment of the ladder."""

    name: str  # of its file, without the number
    path: Path
    based_on: str | None  # name of another row
    config: TrainConfig

    @property
    def change(self) -> str:
        """Description of what it tries."""
        return self.config.experiment.description


@dataclass(frozen=True)
class Result:
    """The result of a row with one seed; None where it is unknown."""

    row: str
    change: str
    based_on: str | None
    seed: int
    split: str  # on which the best epoch was chosen
    status: str  # of the run, or NOT_RUN
    reason: str | None  # why the run is incomplete
    epochs: int
    parameters: int
    macs: int
    map_50: float | None = None  # the best on that split
    best_epoch: int | None = None
    elapsed_s: float | None = None  # evaluations included, interruptions left out
    run: str | None = None  # name of the folder
    command: str | None = None  # of the first start
    environment: dict[str, Any] = field(default_factory=dict)  # of the last start
    test: dict[str, Any] = field(default_factory=dict)  # split and mAP, where requested

    def to_dict(self) -> dict[str, Any]:
        """Return its part of the JSON file."""
        return asdict(self)


def read_rows(folder: Path, runs: Path, overrides: Sequence[str] = ()) -> list[Row]:
    """
    Read the rows of a ladder in the order of their numbers; overrides apply to all.

    A row may name the best checkpoint of an earlier one as `${BEST_OF_ROW}`; this sets these
    environment variables, which training processes inherit. Raises ConfigError where the folder
    has no rows or a row is misnamed, cannot be read, or has the name of another.
    """
    paths = sorted(folder.glob('*.yaml'))
    if not paths:
        raise ConfigError(f'{folder}: no folder with rows of a ladder, NUMBER_ROW.yaml; '
                          'config/train/ladder is one')
    rows: dict[str, Row] = {}
    for path in paths:
        row = _read_row(path, tuple(overrides))
        taken = [other for other in rows.values() if other.config.name == row.config.name]
        if taken or row.name in rows:
            raise ConfigError(f'{path}: its name {row.config.name!r} is that of '
                              f'{(taken or [rows[row.name]])[0].path}; give it one of its own')
        rows[row.name] = row
        os.environ[f'BEST_OF_{row.name.upper()}'] = str(RunFolder(runs, row.config).best)
    return list(rows.values())


def choose_rows(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Select rows by name, in the order of the ladder; no names select all."""
    known = [row.name for row in rows]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f'{unknown[0]!r} is no row of this ladder; it has {", ".join(known)}')
    return [row for row in rows if not names or row.name in names]


def collect(rows: Sequence[Row], runs: Path) -> list[Result]:
    """
    Read the runs of each row, of any seed, or one result without numbers.

    A DataError names a damaged file of a run folder.
    """
    found = []
    for row in rows:
        folders = _runs_of(row, runs)
        found += [_result(row, config, folder) for folder, config in folders] or [
            _result(row, row.config, None)]
    return found


def _read_row(path: Path, overrides: tuple[str, ...]) -> Row:
    named = _FILE_NAME.fullmatch(path.stem)
    if not named:
        raise ConfigError(f'{path}: the name of a row is NUMBER_ROW.yaml, as 01_baseline.yaml')
    base = parse_yaml(path.read_text(encoding='utf-8'), str(path)).get(BASE)
    other = _FILE_NAME.fullmatch(Path(base).stem) if isinstance(base, str) else None
    return Row(named[1], path, other[1] if other else None, load_config(path, overrides))


def _runs_of(row: Row, runs: Path) -> list[tuple[Path, TrainConfig]]:
    """Find the runs of a row; their configurations differ only by the seed."""
    wanted, found = row.config.recipe_fingerprint(), []
    for path in sorted(runs.glob(f'{row.config.name}_*/config.yaml')):
        try:
            config = load_config(path)
        except ConfigError:  # of another package version: not this experiment
            continue
        same_seed = config.model_copy(update={'seed': row.config.seed})
        if same_seed.recipe_fingerprint() == wanted:
            found.append((path.parent, config))
    return sorted(found, key=lambda item: item[1].seed)


def _result(row: Row, config: TrainConfig, folder: Path | None) -> Result:
    parameters, macs = _cost(config.model, config.score_columns)
    found = read_status(folder) if folder else RunStatus(NOT_RUN, '')
    return Result(row.name, row.change, row.based_on, config.seed, config.data.val, found.status,
                  found.facts.get('reason'), config.training.epochs, parameters, macs,
                  **(_measured(folder) if folder else {}))


def _measured(folder: Path) -> dict[str, Any]:
    lines = MetricsFile(folder / 'metrics.jsonl').read()
    evaluations = [line for line in lines if line.get('map_50') is not None]
    best = max(evaluations, key=lambda line: line['map_50'], default={})
    starts = _read_json(folder / 'arguments.json', [])
    # the program by its name, not by its path
    command = shlex.join(['mbv2ssd_train', *shlex.split(starts[0]['command'])[1:]]
                         ) if starts else None
    return {
        'map_50': best.get('map_50'), 'best_epoch': best.get('epoch'),
        'elapsed_s': max((line.get('elapsed_s', 0.0) for line in lines), default=None),
        'run': folder.name, 'command': command,
        'environment': starts[-1]['environment'] if starts else {},
        'test': read_test(folder)}


def read_test(folder: Path) -> dict[str, Any]:
    """Return split and map_50 of test.json; {} if it is missing or older than best.pt."""
    path, best = folder / TEST_FILE, folder / 'checkpoints/best.pt'
    found = _read_json(path, {})
    if not found or (best.exists() and best.stat().st_mtime > path.stat().st_mtime):
        return {}
    return {'split': found['split'], 'map_50': found['map_50']}


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return default
    except ValueError as err:
        raise DataError(f'{path}: not JSON: {err}; remove the file') from err


@lru_cache
def _cost(model: ModelConfig, score_columns: int) -> tuple[int, int]:
    with torch.device('meta'):  # shapes alone: nothing is computed
        network = SSD(model, score_columns)
        return count_parameters(network), count_macs(network, model.input_size_hw)
