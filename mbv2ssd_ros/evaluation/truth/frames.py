"""
Annotated frames of a bag, from COCO JSON and from VOC XML, one file each.

A file name identifies its frame (frame_names.py). An entry in COCO's `images` may also have
`stamp_ns` or `frame_index`, and `topic` where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.annotations import AnnotatedImage, in_pixels, normalised_boxes
from mbv2ssd_ros.core.annotations.coco import Entry, load_coco
from mbv2ssd_ros.core.annotations.voc import parse_voc
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags.frame_names import FrameKey, parse_name


@dataclass(frozen=True)
class AnnotatedFrame:
    """The objects of one frame."""

    name: str  # in its source, for messages
    key: FrameKey
    size_hw: tuple[int, int] | None  # as annotated; None where the source has no size
    boxes_xyxy: NDArray[np.float32]  # (N, 4) 0-based corners in pixels, inside the image
    names: tuple[str, ...]  # N class names
    difficult: NDArray[np.bool_]  # (N,)


def read_voc_frame(path: Path, topics: Sequence[str]) -> AnnotatedFrame:
    """Read a VOC XML file; topics are the image topics of the bag."""
    try:
        image = parse_voc(path.read_bytes(), str(path))
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err}') from err
    try:
        key = parse_name(str(path), topics)
    except DataError as err:
        raise DataError(f'file name {err}') from err
    return _annotated_frame(path.name, key, image)


def read_coco_frames(path: Path, topics: Sequence[str]) -> list[AnnotatedFrame]:
    """Read all images of a file, those without objects too; topics are those of the bag."""
    return [_annotated_frame(entry['file_name'], _key(entry, path, topics), image)
            for entry, image in load_coco(path)]


def _key(entry: Entry, path: Path, topics: Sequence[str]) -> FrameKey:
    stamp, index, topic = (entry.get(name) for name in ('stamp_ns', 'frame_index', 'topic'))
    for name, value in (('stamp_ns', stamp), ('frame_index', index)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise DataError(f'{path}: {entry["file_name"]}: {name} is {value!r}, expected a '
                            'whole number')
    if stamp is not None or index is not None:
        try:
            return FrameKey(topic, stamp, None if stamp is not None else index)
        except DataError as err:
            raise DataError(f'{path}: {entry["file_name"]}: {err}') from err
    try:
        found = parse_name(entry['file_name'], topics)
    except DataError as err:
        raise DataError(f'{path}: file name {err}; or give its entry a stamp_ns or a '
                        'frame_index') from err
    return FrameKey(topic or found.topic, found.stamp_ns, found.index)


def _annotated_frame(name: str, key: FrameKey, image: AnnotatedImage) -> AnnotatedFrame:
    """Take the objects of an annotated image, with the same boxes as in training."""
    return AnnotatedFrame(
        name, key, image.size_hw,
        in_pixels(normalised_boxes(image.objects, image.size_hw), image.size_hw),
        tuple(item.name for item in image.objects),
        np.array([item.difficult for item in image.objects], bool))
