"""
Annotated frames from COCO JSON.

An entry in `images` identifies its frame by `stamp_ns` or `frame_index` (and `topic`, where there
are several), else by its file name; see frame_names.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbv2ssd_ros.core.annotations.coco import Entry, load_coco
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags.frame_names import FrameKey, parse_name
from mbv2ssd_ros.evaluation.truth.frames import annotated_frame, AnnotatedFrame


def read_coco_truth(path: Path, topics: Sequence[str]) -> list[AnnotatedFrame]:
    """Read all images of a file, those without objects too; topics are those of the bag."""
    return [annotated_frame(entry['file_name'], _key(entry, path, topics), image)
            for entry, image in load_coco(path)]


def _key(entry: Entry, path: Path, topics: Sequence[str]) -> FrameKey:
    stamp, index, topic = (entry.get(name) for name in ('stamp_ns', 'frame_index', 'topic'))
    for name, value in (('stamp_ns', stamp), ('frame_index', index)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise DataError(f'{path}: {entry["file_name"]}: {name} is {value!r}, expected a '
                            'whole number')
    if stamp is not None:
        return FrameKey(topic, stamp, None)
    if index is not None:
        return FrameKey(topic, None, index)
    try:
        found = parse_name(entry['file_name'], topics)
    except DataError as err:
        raise DataError(f'{path}: file name {err}; or give its entry a stamp_ns or a '
                        'frame_index') from err
    return FrameKey(topic or found.topic, found.stamp_ns, found.index)
