"""The folder of a run: configuration, status, metrics, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
import json
import os
from pathlib import Path
import platform
import shutil
import sys
import time
from typing import Any

from mbv2ssd_ros.core.durable import write_json, write_whole
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.run.lock import RunLock
from mbv2ssd_train.run.metrics_file import MetricsFile

STATUSES = ('running', 'success', 'failed', 'preempted')
DAMAGED = 'damaged'  # status of a run with an invalid file
INTERRUPTED = 'interrupted'  # status of a run whose process died
_TIME = '%Y-%m-%dT%H:%M:%S%z'


class RunFolder:
    """
    `<runs>/<name>_<recipe fingerprint>/`: the same experiment is the same folder.

    The constructor writes nothing.
    """

    def __init__(self, runs: Path, config: TrainConfig) -> None:
        self._config = config
        self.path = runs / f'{config.name}_{config.recipe_fingerprint()}'
        self.checkpoints = self.path / 'checkpoints'
        self.last = self.checkpoints / 'last.pt'
        self.best = self.checkpoints / 'best.pt'
        self._lock = RunLock(self.path / 'lock')
        self.metrics = MetricsFile(self.path / 'metrics.jsonl')

    def open(self, resume: bool, arguments: Sequence[str] | None = None,
             begun_with: str = '') -> None:
        """
        Create or resume the folder, lock it for this process, and record the start.

        `arguments` is the command line to record (None: the process's), `begun_with` a phrase
        that describes the initial weights. Raises ConfigError where another process runs this
        experiment, where it exists without `resume`, or where there is nothing to resume.
        """
        if resume and not self.last.exists() and self._lock.is_free():
            raise ConfigError(f'{self.last}: nothing to resume; leave --resume out to start'
                              f'{self._others_of_that_name()}')
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._prepare(resume)
            self._note_start(sys.argv if arguments is None else arguments, begun_with)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlock the folder; no effect where it is not open."""
        self._lock.release()

    def set_status(self, status: str, **facts: Any) -> None:
        """Write 'running', 'success', 'failed' or 'preempted', with facts such as step."""
        assert status in STATUSES, status
        write_whole(self.path / 'status.json', json.dumps({
            'status': status, 'time': time.strftime(_TIME), 'pid': os.getpid(),
            'host': platform.node(), **facts}))

    def _prepare(self, resume: bool) -> None:
        if self.last.exists() and not resume:
            raise ConfigError(
                f'{self.path}: this experiment exists; add --resume to resume it, change '
                'the configuration (such as name or seed), or remove the folder')
        self.checkpoints.mkdir(exist_ok=True)
        if not resume:  # of a run that ended before its first checkpoint
            self.metrics.path.unlink(missing_ok=True)
            (self.path / 'status.json').unlink(missing_ok=True)
            for name in ('tensorboard', 'plots'):
                shutil.rmtree(self.path / name, ignore_errors=True)
        write_whole(self.path / 'config.yaml', self._config.to_yaml())
        write_whole(self.path / 'experiment.json', json.dumps(
            self._config.experiment.model_dump(mode='json')))
        write_whole(self.path / 'fingerprints.json', json.dumps(self._config.fingerprints()))

    def _others_of_that_name(self) -> str:
        fingerprint = '[0-9a-f]' * 12
        found = sorted(str(path.parents[1]) for path in self.path.parent.glob(
            f'{self._config.name}_{fingerprint}/checkpoints/last.pt'))
        return '' if not found else (
            f'. {", ".join(found)}: of another configuration, which a resumed run keeps; '
            'model.weights starts from its weights')

    def _note_start(self, arguments: Sequence[str], begun_with: str) -> None:
        from mbv2ssd_train.run.environment import command_line, describe_environment
        path = self.path / 'arguments.json'
        try:
            starts = json.loads(path.read_text(encoding='utf-8'))
        except FileNotFoundError:
            starts = []
        except ValueError as err:
            raise DataError(f'{path}: not JSON: {err}; remove the file to continue') from err
        starts.append({'time': time.strftime(_TIME), 'command': command_line(arguments),
                       'begun_with': begun_with, 'environment': describe_environment()})
        write_json(path, starts)


@dataclass(frozen=True)
class RunStatus:
    """The status of a run."""

    status: str  # one of STATUSES, or 'interrupted'
    time: str  # when it was written, ISO 8601; '' where it was not
    facts: dict[str, Any] = field(default_factory=dict)  # step, best_map_50, reason, pid, host


def read_status(folder: Path) -> RunStatus:
    """
    Read the status of a run, which another process may be running.

    It is 'interrupted' where the file has 'running' and no process holds the lock. Raises
    DataError where status.json is not what set_status writes.
    """
    path = folder / 'status.json'
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        status, written = found.pop('status'), found.pop('time')
    except FileNotFoundError:  # ended before its first step
        status, written, found = 'running', '', {}
    except (ValueError, KeyError, AttributeError, TypeError) as err:
        raise DataError(f'{path}: not the status of a run ({err!r}); remove the file, a resumed '
                        'run rewrites it') from err
    if status == 'running' and RunLock(folder / 'lock').is_free():
        status = INTERRUPTED
    return RunStatus(status, written, found)


def latest_run(runs: Path) -> Path:
    """Return the last modified run with a checkpoint; ConfigError where there is none."""
    found = [folder for folder in _run_folders(runs) if (folder / 'checkpoints/last.pt').is_file()]
    if not found:
        raise ConfigError(f'{runs}: no run with a checkpoint; train one with a configuration, or '
                          'give another folder by --runs')
    return max(found, key=_touched)


@dataclass(frozen=True)
class RunSummary:
    """A row of the table of runs."""

    name: str
    status: str
    step: int
    total_steps: int | None  # None where it ended before its first step
    best_map_50: float | None
    time: str  # of the last change, ISO 8601
    experiment: dict[str, Any]  # description, author, created, tags
    fault: str = ''  # what is wrong with a damaged run

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `runs --json`."""
        return asdict(self)


def describe_runs(runs: Path) -> list[RunSummary]:
    """Summarise the runs of a folder, newest first; ConfigError where it is missing."""
    if not runs.is_dir():
        raise ConfigError(f'{runs}: no such folder of runs; give it by --runs')
    newest_first = sorted(_run_folders(runs), key=_touched, reverse=True)
    return [_summary_or_fault(folder) for folder in newest_first]


def _summary_or_fault(folder: Path) -> RunSummary:
    """Summarise a run; a damaged one does not hide the others."""
    try:
        return _summary(folder)
    except DataError as err:
        return RunSummary(folder.name, DAMAGED, 0, None, None, _changed(folder), {}, str(err))


def _summary(folder: Path) -> RunSummary:
    lines = MetricsFile(folder / 'metrics.jsonl').read()
    status = read_status(folder)
    steps = [line.get('step', 0) for line in lines] + [status.facts.get('step', 0)]
    totals = [line['total_steps'] for line in lines if 'total_steps' in line]
    maps = [line['map_50'] for line in lines if line.get('map_50') is not None]
    return RunSummary(folder.name, status.status, max(steps), max(totals, default=None),
                      max(maps, default=None), _changed(folder), _experiment(folder))


def _changed(folder: Path) -> str:
    return time.strftime(_TIME, time.localtime(_touched(folder)))


def _experiment(folder: Path) -> dict[str, Any]:
    path = folder / 'experiment.json'
    try:
        return dict(json.loads(path.read_text(encoding='utf-8')))
    except FileNotFoundError:  # of a version that wrote none
        return {}
    except (TypeError, ValueError) as err:
        raise DataError(f'{path}: not a JSON object: {err}') from err


def _run_folders(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    return [path for path in runs.iterdir()  # one that is being fetched is hidden
            if not path.name.startswith('.') and (path / 'fingerprints.json').is_file()]


def _touched(folder: Path) -> float:
    names = ('status.json', 'metrics.jsonl', 'fingerprints.json', 'checkpoints/last.pt')
    return max(path.stat().st_mtime for path in map(folder.joinpath, names) if path.is_file())
