"""Files that are written whole or not at all, even when the machine loses power."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = '.partial'


def partial_of(path: Path) -> Path:
    """Name the file next to it in which a new version is prepared."""
    return path.with_name(path.name + PARTIAL)


def put_in_place(partial: Path, path: Path) -> None:
    """Replace a file by its finished new version in the same folder; readers see either whole."""
    sync(partial)  # else the name may reach the disk before the content
    os.replace(partial, path)
    sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 file; after an OSError only its earlier version is there."""
    partial = partial_of(path)
    try:
        partial.write_text(text, encoding='utf-8')
        put_in_place(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
