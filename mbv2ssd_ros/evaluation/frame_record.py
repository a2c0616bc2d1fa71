"""What is written down of each frame of a bag, one JSON line each."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any

import numpy as np

from mbv2ssd_ros.core.detections import Detections

STAGES = ('read', 'decode', 'preprocess', 'infer', 'select')


@dataclass(frozen=True)
class FrameRecord:
    """One frame, answered or not."""

    number: int
    topic: str
    index: int
    stamp_ns: int  # by the chosen clock
    header_ns: int
    log_ns: int
    frame_id: str
    size_hw: tuple[int, int] | None  # None where it was not answered
    detections: Detections | None  # in pixels, labels 1-based; None where it was not answered
    reason: str = ''  # of the failure, as the node counts it
    error: str = ''
    times_ms: tuple[float, ...] = ()  # of STAGES; nan where a stage did not take part

    def to_line(self) -> str:
        """
        Write it.

        Returns:
            A line of JSON; floats are exact.
        """
        found = self.detections
        return json.dumps({
            'number': self.number, 'topic': self.topic, 'index': self.index,
            'stamp_ns': self.stamp_ns, 'header_ns': self.header_ns, 'log_ns': self.log_ns,
            'frame_id': self.frame_id, 'size_hw': self.size_hw,
            'boxes': None if found is None else found.boxes_xyxy.tolist(),
            'scores': None if found is None else found.scores.tolist(),
            'labels': None if found is None else found.labels.tolist(),
            'reason': self.reason, 'error': self.error,
            'times_ms': [None if np.isnan(t) else round(t, 4) for t in self.times_ms],
        }, separators=(',', ':')) + '\n'

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> FrameRecord:
        """
        Read it.

        Args:
            found: a line as JSON has it.

        Returns:
            The record.
        """
        detections = None if found['boxes'] is None else Detections(
            np.array(found['boxes'], np.float32).reshape(-1, 4),
            np.array(found['scores'], np.float32), np.array(found['labels'], np.intp))
        return cls(
            found['number'], found['topic'], found['index'], found['stamp_ns'],
            found['header_ns'], found['log_ns'], found['frame_id'],
            None if found['size_hw'] is None else (found['size_hw'][0], found['size_hw'][1]),
            detections, found['reason'], found['error'],
            tuple(float('nan') if t is None else t for t in found['times_ms']))
