"""flock: locks on files that the system releases when their process ends, however it ends."""

from __future__ import annotations

import fcntl
from typing import Any, IO


def try_lock(file: IO[Any], shared: bool = False) -> bool:
    """
    Lock an open file until it is closed; False where another open file of it holds a lock.

    Any number may hold a shared lock together. OSError: the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either for a lock that is held
        return False
    return True
