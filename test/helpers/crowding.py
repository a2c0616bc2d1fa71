"""How much of a core a test gets: other work of the machine stretches every time it measures."""

import time


def crowding(cpu_s=0.05):
    """Compute for so long; return how many times longer it took: 1 with a core for itself."""
    started, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < cpu_s:
        pass
    return (time.perf_counter() - started) / (time.thread_time() - used)
