"""
COCO JSON: one file with `images`, `categories` and `annotations`.

Boxes are (x, y, width, height) in pixels with 0-based corners. `iscrowd` objects are treated as
VOC's difficult ones: not learnt from, and ignored when mAP@0.5 is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.annotations import (
    Annotation,
    check_object,
    check_size,
    label_of,
    make_record,
    OnFault,
    read_each,
    refuse,
)
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.paths import inside

_NUMBER, _ID = (int, float), (int, str)
_KEYS: dict[str, dict[str, Any]] = {  # what must stand in each item, and of which type
    'images': {'id': _ID, 'file_name': str, 'width': _NUMBER, 'height': _NUMBER},
    'categories': {'id': _ID, 'name': str},
    'annotations': {'image_id': _ID, 'category_id': _ID, 'bbox': list}}


def read_coco(json_path: Path, images: Path, class_names: Sequence[str],
              on_fault: OnFault = refuse) -> list[ImageRecord]:
    """
    Read the annotations of a split.

    Args:
        json_path: the annotation file.
        images: folder that its file names are relative to.
        class_names: known object classes; every category of an annotation must be among them.
        on_fault: told of images that are missing and objects that are wrong.

    Returns:
        One record for each image, in the order of the file; images without objects too.

    Raises:
        DataError: the file is missing or not of this form.
    """
    found = _load(json_path, on_fault)
    names = {category['id']: category['name'] for category in found['categories']}
    objects: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in found['annotations']:
        objects[annotation['image_id']].append(annotation)
    records = read_each(
        found['images'],
        lambda image: _read_image(image, objects.pop(image['id'], []), names, json_path, images,
                                  class_names, on_fault),
        on_fault)
    if objects:
        on_fault(DataError(f'{json_path}: annotations of images that it does not list: '
                           f'{sorted(map(str, objects))[:5]}'))
    return records


def coco_classes(json_path: Path) -> tuple[str, ...]:
    """
    List the categories of an annotation file.

    Args:
        json_path: the annotation file.

    Returns:
        Their names, in the order of their ids.
    """
    categories = _load(json_path, refuse)['categories']
    return tuple(item['name'] for item in sorted(categories, key=lambda item: item['id']))


def _load(json_path: Path, on_fault: OnFault) -> dict[str, list[dict[str, Any]]]:
    try:
        found = json.loads(json_path.read_text(encoding='utf-8'))
    except FileNotFoundError as err:
        raise DataError(f'{json_path}: no such annotation file') from err
    except (ValueError, RecursionError) as err:  # not JSON, not UTF-8, lists in lists in lists
        raise DataError(f'{json_path}: not JSON: {err}') from err
    for key in _KEYS:
        if not isinstance(found, dict) or not isinstance(found.get(key), list):
            raise DataError(f'{json_path}: not a COCO file: {key!r} is missing or not a list')
    return {key: _checked_items(found[key], key, json_path,
                                refuse if key == 'categories' else on_fault) for key in _KEYS}


def _checked_items(items: list[Any], key: str, json_path: Path, on_fault: OnFault
                   ) -> list[dict[str, Any]]:
    def check(numbered: tuple[int, Any]) -> dict[str, Any]:
        number, item = numbered
        for name, kind in _KEYS[key].items():
            value = item.get(name) if isinstance(item, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise DataError(f'{json_path}: {key}[{number}]: {name!r} is {short(value)}: '
                                'missing, or of the wrong type')
        return dict(item)
    return read_each(enumerate(items), check, on_fault)


def _read_image(image: Mapping[str, Any], objects: Sequence[Mapping[str, Any]],
                names: Mapping[Any, str], json_path: Path, images: Path,
                class_names: Sequence[str], on_fault: OnFault) -> ImageRecord:
    where = f'{json_path}: image {image["file_name"]}'
    path = inside(images, image['file_name'], str(json_path))
    if not path.is_file():
        raise DataError(f'{where}: there is no {path}')
    try:
        size_hw = check_size((int(image['height']), int(image['width'])), where)
    except (ValueError, OverflowError) as err:  # nan, infinite
        raise DataError(f'{where}: its size is {short(image["width"])} x '
                        f'{short(image["height"])}') from err
    found = read_each(
        objects,
        lambda item: check_object(_read_object(item, names, where, class_names), size_hw,
                                  f'{where}: annotation {item.get("id")}'),
        on_fault)
    return make_record(str(image['id']), str(path), where, size_hw, found)


def _read_object(item: Mapping[str, Any], names: Mapping[Any, str], where: str,
                 class_names: Sequence[str]) -> Annotation:
    category = item['category_id']
    try:
        x, y, width, height = (float(side) for side in item['bbox'])
    except (TypeError, ValueError, OverflowError) as err:  # the latter of huge integers
        raise DataError(f'{where}: annotation {short(item.get("id"))}: bbox is '
                        f'{short(item["bbox"])}, '
                        'expected four numbers') from err
    if category not in names:
        raise DataError(f'{where}: category {category!r} is not among the categories')
    return Annotation(label_of(names[category], class_names, where),
                      (x, y, x + width, y + height), bool(item.get('iscrowd', 0)))
