"""Detections as JSON, written while they are found, so that an interruption loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_train.predict.capture import VideoFrame


def describe(detections: Detections, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """
    Turn detections into plain values.

    Args:
        detections: boxes in pixels.
        class_names: of the contract.

    Returns:
        One dictionary for each, best first.
    """
    return [
        {'label': class_names[label], 'score': round(float(score), 4),
         'box_xyxy': [round(float(side), 2) for side in box]}
        for box, score, label in zip(
            detections.boxes_xyxy, detections.scores, detections.labels, strict=True)]


class ImageRecords:
    """
    detections.json: one JSON object, image name -> list of detections.

    A complete object after every image: each one is written over the closing brace.
    """

    def __init__(self, path: Path) -> None:
        """
        Begin with an empty object.

        Args:
            path: of the file, which is replaced.
        """
        self._file = path.open('w', encoding='utf-8')
        self._end, self._separator = self._file.write('{'), '\n '
        self._close_object()

    def add(self, name: str, detections: list[dict[str, Any]]) -> None:
        """
        Write the entry of an image.

        Args:
            name: of the image, not yet there.
            detections: as describe returns them.
        """
        self._file.seek(self._end)
        self._file.write(f'{self._separator}{json.dumps(name)}: {json.dumps(detections)}')
        self._end, self._separator = self._file.tell(), ',\n '
        self._close_object()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _close_object(self) -> None:
        self._file.write('\n}\n')
        self._file.flush()


class FrameRecords:
    """detections.jsonl: a JSON object in each line, for each frame that was looked at."""

    def __init__(self, path: Path) -> None:
        """
        Begin with no line.

        Args:
            path: of the file, which is replaced.
        """
        self._file = path.open('w', encoding='utf-8')

    def add(self, source: str, frame: VideoFrame, detections: list[dict[str, Any]]) -> None:
        """
        Write the line of a frame.

        Args:
            source: name of the video, webcam or stream.
            frame: that was looked at.
            detections: as describe returns them.
        """
        self._file.write(json.dumps({
            'source': source, 'frame': frame.index, 'time_s': round(frame.time_s, 3),
            'detections': detections}) + '\n')
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
