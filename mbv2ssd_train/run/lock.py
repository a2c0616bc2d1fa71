"""One process at a time in a run folder."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
import platform
import sys
import time
from typing import IO
import weakref

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.file_lock import try_lock

_TRIES, _PAUSE_S = 5, 0.1  # is_free in another process holds the lock for a moment
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class RunLock:
    """
    The file `lock` of a run folder, locked with flock while its process lives.

    The system releases the lock of a process that ends, however it ends, so a file that is left
    behind blocks no other process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """
        Take the lock and record its holder; ConfigError where another process has it.

        Within one process the last caller gets it, as a restarted notebook expects.
        """
        for lock in [lock for lock in _HELD if lock.path.resolve() == self.path.resolve()]:
            lock.release()
        file = self.path.open('a+', encoding='utf-8')
        try:
            self._lock(file)
        except BaseException:
            file.close()
            raise
        file.truncate(0)
        file.write(json.dumps({'pid': os.getpid(), 'host': platform.node()}))
        file.flush()
        self._file = file
        _HELD.add(self)

    def release(self) -> None:
        """Release the lock; no effect where it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None
            _HELD.discard(self)

    def is_free(self) -> bool:
        """Return whether no living process, this one included, holds the lock."""
        try:
            with self.path.open(encoding='utf-8') as file:
                return _try_lock(file, shared=True)
        except FileNotFoundError:
            return True

    def _lock(self, file: IO[str]) -> None:
        for _ in range(_TRIES):
            if _try_lock(file):
                return
            time.sleep(_PAUSE_S)
        raise ConfigError(
            f'{self.path.parent}: this experiment is running, {self._holder()}; wait for it '
            'or stop it, or change the configuration (such as name or seed)')

    def _holder(self) -> str:
        try:
            found = json.loads(self.path.read_text(encoding='utf-8'))
            return f'process {found["pid"]} on {found["host"]}'
        except (ValueError, KeyError, TypeError):  # taken, not yet written
            return 'in a process that has just started'


_HELD: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # A forked worker shares the lock. If it outlived a killed parent, no process could resume.
    # Closing its copy leaves the parent's lock in place.
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)


def _try_lock(file: IO[str], shared: bool = False) -> bool:
    try:
        return try_lock(file, shared)
    except OSError as err:
        if err.errno not in _NO_LOCKS:
            raise
        print(f'{file.name}: this file system has no locks ({err.strerror}); make sure that '
              'only one process trains in this folder', file=sys.stderr)
    return True
