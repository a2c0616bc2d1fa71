"""JSON files with figures; an unusable path is refused before the measurement."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

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
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = 'you may not write there'
    if reason:
        raise ConfigError(f'{option} {path}: cannot be written: {reason}')


def write_json(path: Path | None, value: Any, option: str = '--json') -> None:
    """Write figures unless `path` is None; ConfigError when that fails (a full disk)."""
    if path is None:
        return
    try:
        path.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
    except OSError as err:
        raise ConfigError(f'{option} {path}: cannot be written: {err.strerror}') from err
