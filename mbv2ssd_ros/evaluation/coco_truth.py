"""
Annotated frames from COCO JSON.

A frame is named by `stamp_ns` or `frame_index` of its entry in `images` (and `topic`, where there
are several), else by its file name; see frame_names.py. `iscrowd` objects are difficult ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.frame_names import FrameKey, parse_name
from mbv2ssd_ros.evaluation.truth_frames import annotated_frame, AnnotatedFrame

_ID, _NUMBER = (int, str), (int, float)
_KEYS: dict[str, dict[str, Any]] = {
    'images': {'id': _ID, 'file_name': str, 'width': _NUMBER, 'height': _NUMBER},
    'categories': {'id': _ID, 'name': str},
    'annotations': {'image_id': _ID, 'category_id': _ID, 'bbox': list}}


def read_coco_truth(path: Path, topics: Sequence[str]) -> list[AnnotatedFrame]:
    """
    Read a file.

    Args:
        path: of the JSON file.
        topics: of images, in the bag.

    Returns:
        A frame for each of its images, those without objects too.

    Raises:
        DataError: missing, not COCO JSON, or contradictory.
    """
    found = _load(path)
    names = {category['id']: category['name'] for category in found['categories']}
    objects: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in found['annotations']:
        if annotation['category_id'] not in names:
            raise DataError(f'{path}: annotation {annotation.get("id")}: category '
                            f'{annotation["category_id"]!r} is not among the categories')
        objects[annotation['image_id']].append(annotation)
    frames = [_frame(image, objects.pop(image['id'], []), names, path, topics)
              for image in found['images']]
    if objects:
        raise DataError(f'{path}: annotations of images that it does not list: '
                        f'{sorted(map(str, objects))[:5]}')
    return frames


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as err:
        raise DataError(f'{path}: no such annotations') from err
    except (OSError, ValueError, RecursionError) as err:
        raise DataError(f'{path}: not COCO JSON: {err}') from err
    for key, wanted in _KEYS.items():
        items = found.get(key) if isinstance(found, dict) else None
        if not isinstance(items, list):
            raise DataError(f'{path}: not COCO JSON: {key!r} is missing or not a list')
        for number, item in enumerate(items):
            for name, kind in wanted.items():
                value = item.get(name) if isinstance(item, dict) else None
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise DataError(f'{path}: {key}[{number}]: {name!r} is missing or of the '
                                    'wrong type')
    return {key: found[key] for key in _KEYS}


def _frame(image: Mapping[str, Any], objects: Sequence[Mapping[str, Any]],
           names: Mapping[Any, str], path: Path, topics: Sequence[str]) -> AnnotatedFrame:
    name = image['file_name']
    boxes = []
    for item in objects:
        try:
            x, y, width, height = (float(side) for side in item['bbox'])
        except (TypeError, ValueError, OverflowError) as err:
            raise DataError(f'{path}: {name}: annotation {item.get("id")}: bbox is not four '
                            'numbers') from err
        boxes.append((x, y, x + width, y + height))
    return annotated_frame(
        name, _key(image, path, topics), (int(image['height']), int(image['width'])), boxes,
        [names[item['category_id']] for item in objects],
        [bool(item.get('iscrowd', 0)) for item in objects], str(path))


def _key(image: Mapping[str, Any], path: Path, topics: Sequence[str]) -> FrameKey:
    stamp, index, topic = (image.get(name) for name in ('stamp_ns', 'frame_index', 'topic'))
    for name, value in (('stamp_ns', stamp), ('frame_index', index)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise DataError(f'{path}: {image["file_name"]}: {name} is {value!r}, expected a '
                            'whole number')
    if stamp is not None:
        return FrameKey(topic, stamp, None)
    if index is not None:
        return FrameKey(topic, None, index)
    try:
        found = parse_name(image['file_name'], topics)
    except DataError as err:
        raise DataError(f'{path}: file name {err}; or give its entry a stamp_ns or a '
                        'frame_index') from err
    return FrameKey(topic or found.topic, found.stamp_ns, found.index)
