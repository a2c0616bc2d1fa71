"""Annotated frames from VOC XML, one file each; its name identifies the frame (frame_names.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbv2ssd_ros.core.annotations.voc import parse_voc
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags.frame_names import parse_name
from mbv2ssd_ros.evaluation.truth.frames import annotated_frame, AnnotatedFrame


def read_voc_truth(paths: Sequence[Path], topics: Sequence[str]) -> list[AnnotatedFrame]:
    """Read files; topics are the image topics of the bag."""
    return [_frame(path, topics) for path in paths]


def _frame(path: Path, topics: Sequence[str]) -> AnnotatedFrame:
    try:
        image = parse_voc(path.read_bytes(), str(path))
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err}') from err
    try:
        key = parse_name(str(path), topics)
    except DataError as err:
        raise DataError(f'file name {err}') from err
    return annotated_frame(path.name, key, image)
