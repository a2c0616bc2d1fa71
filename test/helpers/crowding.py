"""How much of the machine the tests get."""

import os
from pathlib import Path
import time


def cores(quota=Path('/sys/fs/cgroup/cpu.max')):
    """Return how many cores this process may use; a container may have a share of many."""
    allowed = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text().split()
    except OSError:
        return allowed
    return allowed if share == 'max' else min(allowed, max(1, int(share) // int(period)))


def crowding(cpu_s=0.05):
    """
    Compute for so long; return how many times longer it took: 1 with a core for itself.

    Other work of the machine stretches every time that a test measures.
    """
    started, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < cpu_s:
        pass
    return (time.perf_counter() - started) / (time.thread_time() - used)
