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

    `path` None: nothing is written. Raises ConfigError where the file cannot be written.
    """
    def checked(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except OSError as err:
            raise ConfigError(f'--record {path}: cannot be written: {err.strerror}') from err

    with checked(lambda: Path(path or os.devnull).open('wb', buffering=0)) as file:
        yield lambda **fields: checked(lambda: file.write(f'{json.dumps(fields)}\n'.encode()))
