"""Figures that a program writes where its user said: refused before they cost minutes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError


def check_writable(path: Path | None, option: str = '--json') -> None:
    """
    See whether a file could be written.

    Args:
        path: of the file; None: none is wanted.
        option: that named it, for the message.

    Raises:
        ConfigError: it is a folder, or its folder is missing or cannot be written to.
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
    """
    Write figures.

    Args:
        path: of the file; None: none is wanted.
        value: what JSON can hold.
        option: that named it, for the message.

    Raises:
        ConfigError: it cannot be written, the disk being full, say.
    """
    if path is None:
        return
    try:
        path.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
    except OSError as err:
        raise ConfigError(f'{option} {path}: cannot be written: {err.strerror}') from err
