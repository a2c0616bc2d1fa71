"""The checkpoint files of a run: the latest, the best, and a few earlier ones."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import shutil

from mbv2ssd_ros.core.durable import PARTIAL, partial_of, put_in_place
from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError

_STEP_FILE = re.compile(r'step_(\d{8,})\.pt')
Write = Callable[[Path], None]  # writes a complete checkpoint to a path


class CheckpointError(Mbv2SsdError):
    """A checkpoint could not be written; the previous one is still there."""


class CheckpointStore:
    """
    `last.pt`, `best.pt` and the newest `keep` files `step_00001234.pt` in one folder.

    A process that is killed at any moment leaves last.pt whole: the previous or the new one.
    Opening removes partial files of a killed process; ConfigError where keep is negative.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        if keep < 0:
            raise ConfigError(f'{folder}: cannot keep {keep} checkpoints; 0 keeps only the last '
                              'and the best')
        self.folder, self.keep = folder, keep
        self.last, self.best = folder / 'last.pt', folder / 'best.pt'
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob(f'*{PARTIAL}'):
            partial.unlink()

    def save(self, step: int, write: Write) -> Path:
        """
        Write a step's checkpoint, make it last.pt, and return its own or that path.

        Removes files of later steps, after a return to an earlier one, and the oldest beyond
        `keep`. Raises CheckpointError, on a full disk for instance; last.pt then stays as before.
        """
        path = self._path(step)
        _write(path, write)
        self._point_last_at(path)
        steps = self.steps()
        earlier = [found for found in steps if found <= step]
        kept = earlier[max(len(earlier) - self.keep, 0):]
        for found in set(steps) - set(kept):
            self._path(found).unlink()
        return path if self.keep else self.last

    def save_best(self, write: Write) -> Path:
        """Write best.pt; on CheckpointError the previous one stays."""
        _write(self.best, write)
        return self.best

    def steps(self) -> list[int]:
        """Return the steps with a file, in order."""
        found = (_STEP_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def _path(self, step: int) -> Path:
        return self.folder / f'step_{step:08}.pt'

    def _point_last_at(self, path: Path) -> None:
        # a killed save left it; copying would write through its link
        partial_of(self.last).unlink(missing_ok=True)

        def copy(partial: Path) -> None:
            try:
                os.link(path, partial)  # the same bytes under a second name
            except OSError:  # a file system without links
                shutil.copyfile(path, partial)

        _write(self.last, copy)


def _write(path: Path, write: Write) -> None:
    partial = partial_of(path)
    try:
        write(partial)
        put_in_place(partial, path)
    except OSError as err:
        partial.unlink(missing_ok=True)  # makes room for the status file
        raise CheckpointError(
            f'{path}: cannot be written: {err.strerror or err}; free some space, then resume with '
            '--resume from the previous checkpoint') from err
