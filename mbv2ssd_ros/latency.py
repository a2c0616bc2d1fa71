"""Percentiles of what each stage of a frame took, one period after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
import threading

import numpy as np

# of a frame; docs/node.md says from where to where each goes
STAGES = ('wait', 'convert', 'preprocess', 'infer', 'postprocess', 'publish', 'total',
          'age_at_publish')


@dataclass(frozen=True)
class Percentiles:
    """How a stage's times are spread, in milliseconds. By nearest rank: each one occurred."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class LatencyWindow:
    """Collects the stage times of frames; any thread may add, one reads and starts anew."""

    def __init__(self, stages: Sequence[str], max_frames: int = 1000) -> None:
        """
        Start empty.

        Args:
            stages: names, in the order in which `add` gets the times.
            max_frames: kept in a period; the rest of a period is not looked at.
        """
        self.stages = tuple(stages)
        self._max_frames = max_frames
        self._lock = threading.Lock()
        self._rows: list[Sequence[float]] = []

    def add(self, times_ms: Sequence[float]) -> None:
        """
        Enter a frame.

        Args:
            times_ms: one for each stage; NaN where a stage has no time for this frame.
        """
        with self._lock:
            if len(self._rows) < self._max_frames:
                self._rows.append(times_ms)

    def take(self) -> dict[str, Percentiles]:
        """
        Close the period.

        Returns:
            Percentiles of each stage that has times in this period; nothing without frames.
        """
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
