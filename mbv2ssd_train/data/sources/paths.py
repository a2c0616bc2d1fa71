"""Paths that annotation files name: taken only where they stay inside the data."""

from __future__ import annotations

from pathlib import Path

from mbv2ssd_ros.core.errors import DataError


def inside(folder: Path, name: str, named_in: str) -> Path:
    """
    Join a folder and a name from a file that a stranger may have written.

    Args:
        folder: of the data.
        name: relative path.
        named_in: file that has the name, for messages.

    Returns:
        The path.

    Raises:
        DataError: the name is absolute or leads out of the folder.
    """
    path = folder / name
    # no file name has a zero byte, and resolve() does not take it
    if '\0' in name or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f'{named_in}: {name!r} leads out of {folder}; refused')
    return path
