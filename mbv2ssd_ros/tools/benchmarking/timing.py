"""How long each call of a function takes."""

from __future__ import annotations

from collections.abc import Callable
import time

from mbv2ssd_ros.tools.playing.publishing import paced


def timed(step: Callable[[int], object], count: int, rate_hz: float = 0.0
          ) -> tuple[list[float], float]:
    """
    Call a function with 0, 1, ... at a rate; 0: one call after the other.

    Returns the milliseconds of each call, and calls per second from the first to the end of the
    last.
    """
    times_ms = []
    began = time.perf_counter()
    for number in paced(range(count), rate_hz) if rate_hz else range(count):
        started = time.perf_counter()
        step(number)
        times_ms.append(1e3 * (time.perf_counter() - started))
    return times_ms, count / (time.perf_counter() - began)
