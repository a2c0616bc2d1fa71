"""What a run records of each frame of a bag, as one JSON line."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any

import numpy as np

from mbv2ssd_ros.core.detections import Detections

STAGES = ('read', 'decode', 'preprocess', 'infer', 'select')


@dataclass(frozen=True)
class FrameRecord:
    """One frame, with detections or the reason for having none."""

    number: int
    topic: str
    index: int
    stamp_ns: int  # by the chosen clock
    header_ns: int
    log_ns: int
    frame_id: str
    size_hw: tuple[int, int] | None  # None without detections
    detections: Detections | None  # in pixels, labels 1-based
    reason: str = ''  # of the failure, as the node counts it
    error: str = ''
    times_ms: tuple[float, ...] = ()  # of STAGES; nan for a stage that did not run

    def to_line(self) -> str:
        """Return a line of JSON; floats are exact."""
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
        """Read a parsed line."""
        fields = dict(found)
        boxes, scores, labels = (fields.pop(key) for key in ('boxes', 'scores', 'labels'))
        fields['size_hw'] = None if found['size_hw'] is None else tuple(found['size_hw'])
        fields['times_ms'] = tuple(float('nan') if t is None else t for t in found['times_ms'])
        return cls(**fields, detections=None if boxes is None else Detections(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
            np.array(labels, np.intp)))
