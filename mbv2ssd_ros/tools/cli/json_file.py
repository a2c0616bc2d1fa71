"""JSON files of figures, checked before the measurement, and of lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core import durable
from mbv2ssd_ros.core.errors import ConfigError


def check_writable(path: Path | None, option: str = '--json') -> None:
    """
    Raise ConfigError for a folder, or where its folder is missing or not writable.

    `path` None: no file is wanted. `option` is for the message.
    """
    if path is None:
        return
    reason = ''
    if path.is_dir():
        reason = 'it is a folder'
    elif not path.parent.is_dir():
        reason = f'the folder {path.parent} does not exist'
    elif not all(os.access(place, os.W_OK) for place in _written(path)):
        reason = 'you may not write there'
    if reason:
        raise ConfigError(f'{option} {path}: cannot be written: {reason}')


def _written(path: Path) -> list[Path]:
    """Return the file where it exists, and its folder where a new file replaces it."""
    return [path] * path.exists() + [path.parent] * durable.is_replaced(path)


def write_json(path: Path | None, value: Any, option: str = '--json') -> None:
    """Write figures unless `path` is None; ConfigError when that fails (a full disk)."""
    if path is None:
        return
    try:
        durable.write_json(path, value, indent=2)
    except OSError as err:
        raise ConfigError(f'{option} {path}: cannot be written: {err.strerror}') from err


@contextmanager
def json_lines(path: Path | None) -> Iterator[Callable[..., None]]:
    """
    Open the file of --record; yields a function that writes its keyword arguments as a line.

    `path` None: nothing is written. Raises ConfigError where the file cannot be opened.
    """
    try:
        file = Path(os.devnull if path is None else path).open('w', buffering=1)
    except OSError as err:
        raise ConfigError(f'--record {path}: cannot be written: {err}') from err
    with file:
        yield lambda **fields: print(json.dumps(fields), file=file)
