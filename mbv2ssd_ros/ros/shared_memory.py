"""
Remove files of Fast DDS in /dev/shm that no living process uses.

A killed process cannot remove its files. Fast DDS removes the segments of dead peers that it
has mapped, but counts a dead peer among the users of a port forever. Then even processes that end
in order leave their ports behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
import ctypes
import fcntl
import os
from pathlib import Path
import signal
from typing import TextIO

from mbv2ssd_ros.core.file_lock import try_lock
from mbv2ssd_ros.ros.fast_dds import FILE_NAME

FOLDER = Path('/dev/shm')


def remove_unused() -> None:
    """
    Remove this user's segments without a living owner and ports that no process maps.

    A port that others still write to must stay even without a reader: the next process with
    its number would never receive from them. Safe while other processes start: Fast DDS's own
    locks are taken.
    """
    try:
        files = os.listdir(FOLDER)
    except FileNotFoundError:
        return
    for name in {match[1] for match in map(FILE_NAME.fullmatch, files) if match}:
        try:
            _remove_unused(name)
        except OSError:  # in use, about to be, or another user's
            continue


def _remove_unused(name: str) -> None:
    data, mutex = FOLDER / name, FOLDER / f'sem.{name}_mutex'
    locks = [path for path in (FOLDER / f'{name}_el', FOLDER / f'{name}_sl') if path.exists()]
    with ExitStack() as held:
        if mutex.exists():
            held.enter_context(_semaphore(mutex.name.removeprefix('sem.')))
        if not all(try_lock(held.enter_context(path.open())) for path in locks):
            return
        if data.exists() and ('_port' in name or not locks):
            _refuse_when_mapped(held.enter_context(data.open()))
        for path in (data, *locks, mutex):
            path.unlink(missing_ok=True)


def _refuse_when_mapped(file: TextIO) -> None:
    """Raise OSError when any process, visible from here or not, can write to a file."""
    fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # ignored; SIGIO would end us
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # refused while there is a writer


@contextmanager
def _semaphore(name: str) -> Iterator[None]:
    """Hold a named POSIX semaphore; OSError where it is missing or held."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sem_open.restype = ctypes.c_void_p  # NULL: not found
    semaphore = ctypes.c_void_p(libc.sem_open(f'/{name}'.encode(), 0))
    if not semaphore:
        raise OSError(ctypes.get_errno(), 'sem_open', name)
    try:
        if libc.sem_trywait(semaphore):
            raise OSError(ctypes.get_errno(), 'sem_trywait', name)
        try:
            yield
        finally:
            libc.sem_post(semaphore)
    finally:
        libc.sem_close(semaphore)
