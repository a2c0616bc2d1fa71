"""The folder that tells the story of a run: configuration, status, metrics, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
import time
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.config import TrainConfig


class RunFolder:
    """`<runs>/<name>_<recipe fingerprint>/`: the same experiment is the same folder."""

    def __init__(self, runs: Path, config: TrainConfig) -> None:
        """
        Name the folder; nothing is written yet.

        Args:
            runs: parent of all runs.
            config: of the experiment.
        """
        self._config = config
        self.path = runs / f'{config.name}_{config.recipe_fingerprint()}'
        self.last = self.path / 'checkpoints' / 'last.pt'
        self.best = self.path / 'checkpoints' / 'best.pt'

    def open(self, resume: bool) -> None:
        """
        Create the folder.

        Args:
            resume: go on where the run stopped.

        Raises:
            ConfigError: the run exists and resume was not asked for, or the other way round.
        """
        if self.last.exists() and not resume:
            raise ConfigError(
                f'{self.path}: this very experiment has been run; add --resume to go on with it, '
                'change the configuration (its name or seed, say), or remove the folder')
        if resume and not self.last.exists():
            raise ConfigError(f'{self.last}: nothing to resume; leave --resume out to begin')
        self.last.parent.mkdir(parents=True, exist_ok=True)
        if not resume:  # of a run that ended before its first checkpoint
            (self.path / 'metrics.jsonl').unlink(missing_ok=True)
        (self.path / 'config.yaml').write_text(self._config.to_yaml(), encoding='utf-8')
        fingerprints = {'arch': self._config.arch_fingerprint(),
                        'recipe': self._config.recipe_fingerprint()}
        (self.path / 'fingerprints.json').write_text(json.dumps(fingerprints), encoding='utf-8')

    def set_status(self, status: str, **facts: Any) -> None:
        """
        Note what became of the run.

        Args:
            status: 'running', 'success', 'failed' or 'preempted'.
            **facts: anything worth knowing beside it.
        """
        now = time.strftime('%Y-%m-%dT%H:%M:%S%z')
        text = json.dumps({'status': status, 'time': now, **facts})
        (self.path / 'status.json').write_text(text, encoding='utf-8')

    def log(self, **values: Any) -> None:
        """
        Append a line to metrics.jsonl.

        Args:
            **values: what was measured.
        """
        with (self.path / 'metrics.jsonl').open('a', encoding='utf-8') as file:
            file.write(json.dumps(values) + '\n')
