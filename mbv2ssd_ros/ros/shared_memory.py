"""
Remove files of Fast DDS in /dev/shm that no living process uses.

A killed process cannot remove its files. Fast DDS removes the segments of dead peers that it
has mapped, but counts a dead peer among the users of a port forever. Then even processes that end
in order leave their ports behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack, suppress
import ctypes
import fcntl
import os
from pathlib import Path
import pwd
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
    for name in _names():
        with suppress(OSError), _unused(name) as files:  # in use, or another user's
            for path in files:
                path.unlink(missing_ok=True)


def unused_files() -> list[Path]:
    """
    List the files that are certainly unused, also of other users.

    Locks and leases belong to the kernel, so processes of other PID namespaces count, too.
    """
    found: list[Path] = []
    for name in _names():
        with suppress(OSError), _unused(name) as files:
            found += files
    return sorted(found)


def other_users() -> list[str]:
    """Name the other users whose running nodes have segments: Fast DDS cannot share them."""
    owners = set()
    for name in _names():
        with suppress(OSError):  # removed meanwhile
            owner = (FOLDER / name).stat().st_uid
            if owner != os.geteuid() and '_port' not in name and not _is_unused(name):
                owners.add(owner)
    return sorted(map(user_name, owners))


def user_name(uid: int) -> str:
    """Return the name of a user; containers often have only the number."""
    try:
        return f'user {pwd.getpwuid(uid).pw_name}'
    except KeyError:
        return f'user {uid}'


def room_bytes() -> int | None:
    """Return the size of the file system for shared memory; None without one."""
    if not FOLDER.is_dir():
        return None
    found = os.statvfs(FOLDER)
    return found.f_blocks * found.f_frsize


def _is_unused(name: str) -> bool:
    with suppress(OSError), _unused(name):
        return True
    return False


def _names() -> set[str]:
    """Return the names of segments and ports."""
    files = os.listdir(FOLDER) if FOLDER.is_dir() else []
    return {match[1] for match in map(FILE_NAME.fullmatch, files) if match}


@contextmanager
def _unused(name: str) -> Iterator[list[Path]]:
    """Yield the files of a segment or port while its locks are held; OSError: it is in use."""
    data, mutex = FOLDER / name, FOLDER / f'sem.{name}_mutex'
    locks = [path for path in (FOLDER / f'{name}_el', FOLDER / f'{name}_sl') if path.exists()]
    with ExitStack() as held:
        if mutex.exists():
            held.enter_context(_semaphore(mutex.name.removeprefix('sem.')))
        for path in locks:
            if not try_lock(held.enter_context(path.open())):
                raise BlockingIOError(f'{path} is locked')
        if data.exists() and ('_port' in name or not locks):
            _refuse_when_mapped(held.enter_context(data.open()))
        yield [path for path in (data, *locks, mutex) if path.exists()]


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
