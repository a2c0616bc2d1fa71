"""Paths from annotation files are accepted only inside the data folder."""

from __future__ import annotations

from pathlib import Path

from mbv2ssd_ros.core.errors import DataError


def inside(folder: Path, name: str, named_in: str) -> Path:
    """Join folder and name, or raise DataError where an untrusted name leads out of the folder."""
    path = folder / name
    # no file name has a zero byte, and resolve() does not take it
    if '\0' in name or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f'{named_in}: {name!r} leads out of {folder}; refused')
    return path
