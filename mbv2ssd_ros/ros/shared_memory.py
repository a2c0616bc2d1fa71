"""
Files of Fast DDS in /dev/shm that no living process uses.

A process that is killed cannot remove its files. Fast DDS removes the segments of dead peers that
it has mapped. But it counts a dead peer among the users of a port for ever, so that even processes
that end in order then leave their ports behind.
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

from mbv2ssd_ros.ros.fast_dds import FILE_NAME

FOLDER = Path('/dev/shm')


def remove_unused() -> None:
    """
    Remove the segments without a living owner and the ports that nobody has mapped; this user's.

    A port that others still write to must stay even when nobody listens: the next process with
    its number would never hear them. Safe while others start: Fast DDS's own locks are taken.
    """
    try:
        files = os.listdir(FOLDER)
    except FileNotFoundError:
        return
    for name in {match[1] for match in map(FILE_NAME.fullmatch, files) if match}:
        try:
            _remove_unused(name)
        except OSError:  # somebody uses it, is about to, or it is another user's
            continue


def _remove_unused(name: str) -> None:
    data, mutex = FOLDER / name, FOLDER / f'sem.{name}_mutex'
    locks = [path for path in (FOLDER / f'{name}_el', FOLDER / f'{name}_sl') if path.exists()]
    with ExitStack() as held:
        if mutex.exists():
            held.enter_context(_semaphore(mutex.name.removeprefix('sem.')))
        for path in locks:
            fcntl.flock(held.enter_context(path.open()), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if data.exists() and ('_port' in name or not locks):
            _refuse_when_mapped(held.enter_context(data.open()))
        for path in (data, *locks, mutex):
            path.unlink(missing_ok=True)


def _refuse_when_mapped(file: TextIO) -> None:
    """Raise OSError when any process, seen from here or not, can write to a file."""
    fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # ignored; the usual SIGIO would be the end
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # refused while there is a writer


@contextmanager
def _semaphore(name: str) -> Iterator[None]:
    """Hold a named semaphore of POSIX; OSError where there is none, or somebody holds it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sem_open.restype = ctypes.c_void_p  # NULL: there is none
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
