"""Percentiles of the time that each stage of a frame took, period by period."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
import threading

import numpy as np

# of a frame; docs/node.md defines where each starts and ends
STAGES = ('wait', 'convert', 'preprocess', 'infer', 'postprocess', 'publish', 'total',
          'age_at_publish')

# called with the stamp of each published frame in ns and its STAGES in ms, from any thread
Recorder = Callable[[int, Sequence[float]], None]


@dataclass(frozen=True)
class Percentiles:
    """Spread of a stage's times in milliseconds, by nearest rank: each one occurred."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class LatencyWindow:
    """Collects times of max_frames frames a period at most; any thread may add, one takes."""

    def __init__(self, stages: Sequence[str], max_frames: int = 1000) -> None:
        self.stages = tuple(stages)
        self._max_frames = max_frames
        self._lock = threading.Lock()
        self._rows: list[Sequence[float]] = []

    def add(self, times_ms: Sequence[float]) -> None:
        """Enter a frame: one time for each stage, NaN where it has none."""
        with self._lock:
            if len(self._rows) < self._max_frames:
                self._rows.append(times_ms)

    def take(self) -> dict[str, Percentiles]:
        """Close the period; return percentiles of the stages that have times in it."""
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return {}
        columns = np.sort(np.asarray(rows, dtype=np.float64), axis=0).T  # NaN last
        known = np.count_nonzero(~np.isnan(columns), axis=1).tolist()
        return {
            stage: Percentiles(*(
                float(column[math.ceil(share * count) - 1]) for share in (0.5, 0.95, 0.99)))
            for stage, column, count in zip(self.stages, columns, known, strict=True) if count}
