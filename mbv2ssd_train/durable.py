"""Files that are written whole or not at all, even when the machine loses power."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = '.partial'


def partial_of(path: Path) -> Path:
    """
    Name the file in which a new version of another one is prepared.

    Args:
        path: of the file.

    Returns:
        A neighbour, so that one rename can put it in place.
    """
    return path.with_name(path.name + PARTIAL)


def put_in_place(partial: Path, path: Path) -> None:
    """
    Replace a file by its finished new version.

    Args:
        partial: complete, in the same folder.
        path: the earlier version, or nothing; a reader sees either version whole.
    """
    sync(partial)  # else the name may reach the disk before the content
    os.replace(partial, path)
    sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """
    Write a text file.

    Args:
        path: of the file.
        text: its content.
    """
    partial = partial_of(path)
    partial.write_text(text, encoding='utf-8')
    put_in_place(partial, path)


def sync(path: Path) -> None:
    """
    Wait until a file, or the list of names in a folder, is on disk.

    Args:
        path: of either.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
