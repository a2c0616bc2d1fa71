"""Files that are written whole or not at all, even when the machine loses power."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PARTIAL = '.partial'


def partial_of(path: Path) -> Path:
    """Name the file next to it in which a new version is prepared."""
    return path.with_name(path.name + PARTIAL)


def put_in_place(partial: Path, path: Path) -> None:
    """Replace a file by its finished new version in the same folder; readers see either whole."""
    sync(partial)  # else the name may reach the disk before the content
    os.replace(partial, path)
    sync(path.parent)


def is_replaced(path: Path) -> bool:
    """Whether write_whole replaces the file: not a link or a device, as /dev/stdout."""
    return not path.is_symlink() and (path.is_file() or not path.exists())


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 file; after an OSError only its earlier version is there (see is_replaced)."""
    if not is_replaced(path):
        path.write_text(text, encoding='utf-8')
        return
    partial = partial_of(path)
    try:
        partial.write_text(text, encoding='utf-8')
        put_in_place(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write a value as JSON; see write_whole."""
    write_whole(path, json.dumps(value, indent=indent) + '\n')


def whole_lines(path: Path) -> list[bytes]:
    """Read the lines of a growing file, none if missing; a last one without newline is torn."""
    return path.read_bytes().split(b'\n')[:-1] if path.is_file() else []


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
