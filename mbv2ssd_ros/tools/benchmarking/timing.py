"""How long each call of a function takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import time
from typing import TypeVar

from mbv2ssd_ros.tools.playing.publishing import paced

Item = TypeVar('Item')


def timed(step: Callable[[Item], object], items: Sequence[Item], rate_hz: float = 0.0
          ) -> tuple[list[float], float]:
    """
    Call a function with each item at a rate; 0: one call after the other.

    Returns the milliseconds of each call, and calls per second from the first to the end of the
    last.
    """
    times_ms = []
    began = time.perf_counter()
    for item in paced(items, rate_hz) if rate_hz else items:
        started = time.perf_counter()
        step(item)
        times_ms.append(1e3 * (time.perf_counter() - started))
    return times_ms, len(items) / (time.perf_counter() - began)
