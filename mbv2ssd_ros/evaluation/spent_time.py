"""Where the time of an evaluation went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

from mbv2ssd_ros.evaluation.frame_record import FrameRecord, STAGES

_INFER = STAGES.index('infer')


@dataclass(frozen=True)
class SpentTime:
    """Wall time in seconds, one phase after the other; inference is part of the frames."""

    start_s: float  # opening bag, ground truth and model
    frames_s: float  # from the first frame to the last
    inference_s: float  # the network alone
    scoring_s: float
    files_s: float  # report, detections, tables

    def __str__(self) -> str:
        more_s = max(0.0, self.frames_s - self.inference_s) + self.scoring_s
        rest = f'report and files {self.files_s:.1f} s, start {self.start_s:.1f} s'
        if not self.inference_s:
            return f'reading and scoring {more_s:.1f} s, {rest}'
        return (f'inference {self.inference_s:.1f} s; reading and scoring {more_s:.1f} s more '
                f'({100 * more_s / self.inference_s:.1f} %), {rest}')


def inference_s(records: Sequence[FrameRecord]) -> float:
    """Sum up the seconds of the network; 0 for detections that had been recorded."""
    times_ms = (record.times_ms[_INFER] for record in records if record.times_ms)
    return 1e-3 * sum(t for t in times_ms if not math.isnan(t))
