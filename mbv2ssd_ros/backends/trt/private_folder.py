"""
A folder for executable files.

An engine is executable code. So its folder belongs to this user (or to root), and no other user
may write to it or replace it.
"""

from __future__ import annotations

import os
from pathlib import Path
import stat

from mbv2ssd_ros.core.errors import BackendError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


def cache_folder(configured: str) -> Path:
    """
    Return the configured folder, else one in the user's cache (XDG base directories).

    Raises BackendError where that needs a home and the user has none, as in some containers.
    """
    cache = os.environ.get('XDG_CACHE_HOME', '')
    in_cache = cache if cache.startswith('/') else '~/.cache'
    try:
        return Path(configured or f'{in_cache}/mbv2ssd').expanduser().absolute()
    except RuntimeError as err:
        raise BackendError(
            f'engine_cache_dir {configured or in_cache!r} cannot be found: {err}; set the '
            'parameter to a folder by its full path') from err


def open_private_folder(folder: Path) -> bool:
    """
    Make an absolute folder of mode 0700 with its parents, or check an existing one.

    Returns whether it is writable. Raises BackendError where it is no folder, others can write to
    it or replace it, or it cannot be made.
    """
    try:
        _make(folder)
        real = folder.resolve(strict=True)
        found = real.stat()
    except OSError as err:
        raise BackendError(
            f'engine_cache_dir {folder} cannot be used: {err.strerror}; set the parameter to a '
            'folder that this user can make') from err
    if not stat.S_ISDIR(found.st_mode):
        raise BackendError(f'engine_cache_dir {folder} is a file, expected a folder')
    _check_owner(real, found)
    if found.st_mode & _OTHERS_WRITE:
        raise BackendError(
            f'engine_cache_dir {folder} can be written by others (mode '
            f'{stat.S_IMODE(found.st_mode):04o}), and engines are programs; `chmod 700 {folder}`, '
            'and delete what is in it unless you know where it came from')
    for parent in real.parents:
        _check_parent(folder, parent)
    return os.access(real, os.W_OK | os.X_OK)


def read_private_file(path: Path) -> bytes:
    """
    Read a file of such a folder.

    Raises OSError where it cannot be read, BackendError where it is no regular file or another
    user can write to it.
    """
    with open(path, 'rb', opener=_without_links) as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & _OTHERS_WRITE:
            raise BackendError(
                f'{path} is not a file that only its owner can write (mode '
                f'{stat.filemode(found.st_mode)})')
        _check_owner(path, found)
        return stream.read()


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # nor wait for a named pipe


def _make(folder: Path) -> None:
    for missing in [path for path in reversed(folder.parents) if not path.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (_ROOT, os.geteuid()):
        raise BackendError(
            f'{path} belongs to user {found.st_uid}, expected this one ({os.geteuid()}); engines '
            'are programs, so set engine_cache_dir to a folder of your own')


def _check_parent(folder: Path, parent: Path) -> None:
    found = parent.stat()
    sticky = found.st_mode & stat.S_ISVTX  # as /tmp: only the owner of an entry may replace it
    if found.st_uid not in (_ROOT, os.geteuid()) or found.st_mode & stat.S_IWOTH and not sticky:
        raise BackendError(
            f'engine_cache_dir {folder} lies in {parent}, where another user could replace it '
            f'(mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}); set the parameter '
            'to a folder elsewhere')
