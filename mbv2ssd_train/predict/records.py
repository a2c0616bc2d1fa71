"""Detections as JSON, written during the run, so that an interruption loses none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_train.predict.capture import VideoFrame


def describe(detections: Detections, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return one dictionary for each detection, best first, boxes in pixels."""
    return [
        {'label': class_names[label], 'score': round(float(score), 4),
         'box_xyxy': [round(float(side), 2) for side in box]}
        for box, score, label in zip(
            detections.boxes_xyxy, detections.scores, detections.labels, strict=True)]


class _Records:

    def __init__(self, path: Path) -> None:
        self._file = path.open('w', encoding='utf-8')

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ImageRecords(_Records):
    """
    detections.json: one JSON object, image name -> list of detections.

    Replaces the file and is a complete object after every image: each one overwrites the closing
    brace.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._end, self._separator = self._file.write('{'), '\n '
        self._close_object()

    def add(self, name: str, detections: list[dict[str, Any]]) -> None:
        """Write the entry of a new image; detections as returned by describe."""
        self._file.seek(self._end)
        self._file.write(f'{self._separator}{json.dumps(name)}: {json.dumps(detections)}')
        self._end, self._separator = self._file.tell(), ',\n '
        self._close_object()

    def _close_object(self) -> None:
        self._file.write('\n}\n')
        self._file.flush()


class FrameRecords(_Records):
    """detections.jsonl, replaced: a JSON object in each line, for each processed frame."""

    def add(self, source: str, frame: VideoFrame, detections: list[dict[str, Any]]) -> None:
        """Write the line of a frame; detections as returned by describe."""
        self._file.write(json.dumps({
            'source': source, 'frame': frame.index, 'time_s': round(frame.time_s, 3),
            'detections': detections}) + '\n')
        self._file.flush()
