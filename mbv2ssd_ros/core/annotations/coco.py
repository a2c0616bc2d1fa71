"""
COCO JSON: one file with `images`, `categories` and `annotations`.

Boxes are (x, y, width, height) in pixels with 0-based corners. `iscrowd` objects are treated as
VOC's difficult ones: not learnt from, and ignored when mAP@0.5 is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    check_object,
    check_size,
    OnFault,
    read_each,
    read_flag,
    refuse,
    Size,
)
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.quoting import short

Entry = dict[str, Any]  # one item of the file
_NUMBER, _ID = (int, float), (int, str)
_KEYS: dict[str, dict[str, Any]] = {  # what must be in each item, and of which type
    'images': {'id': _ID, 'file_name': str},
    'categories': {'id': _ID, 'name': str},
    'annotations': {'image_id': _ID, 'category_id': _ID, 'bbox': list}}


def load_coco(path: Path, on_fault: OnFault = refuse,
              own_size: Callable[[Entry], Size] | None = None
              ) -> list[tuple[Entry, AnnotatedImage]]:
    """
    Return every entry and its image in file order, negatives too; may raise DataError.

    own_size reads the size of a picture, where its entry has none, null or nothing above 0.
    """
    found = _load(path, on_fault)
    names = {category['id']: category['name'].strip() for category in found['categories']}
    of_image: defaultdict[Any, list[Entry]] = defaultdict(list)
    for annotation in found['annotations']:
        of_image[annotation['image_id']].append(annotation)
    images = read_each(
        found['images'],
        lambda entry: (entry, _image(entry, of_image.pop(entry['id'], []), names, path, on_fault,
                                     own_size)), on_fault)
    if of_image:
        on_fault(DataError(f'{path}: annotations of images that it does not list: '
                           f'{sorted(map(str, of_image))[:5]}'))
    return images


def _load(path: Path, on_fault: OnFault) -> dict[str, list[Entry]]:
    try:
        found = json.loads(path.read_text(encoding='utf-8-sig'))
    except FileNotFoundError as err:
        raise DataError(f'{path}: no such annotations') from err
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err}') from err
    except (ValueError, RecursionError) as err:  # not JSON, not UTF-8, lists in lists in lists
        raise DataError(f'{path}: not JSON: {err}') from err
    for key in _KEYS:
        if not isinstance(found, dict) or not isinstance(found.get(key), list):
            raise DataError(f'{path}: not COCO JSON: {key!r} is missing or not a list')
    items = {key: _checked(found[key], key, path, refuse if key == 'categories' else on_fault)
             for key in _KEYS}
    for key in ('images', 'categories'):
        _require_unique_ids(items[key], key, path)
    return items


def _require_unique_ids(items: Sequence[Entry], key: str, path: Path) -> None:
    """Refuse ids that occur twice: annotations would be given to the wrong item."""
    seen: dict[Any, int] = {}
    for number, item in enumerate(items):
        first = seen.setdefault(item['id'], number)
        if first != number:
            raise DataError(f'{path}: {key}[{first}] and {key}[{number}] both have the id '
                            f'{short(item["id"])}; number them anew')


def _checked(items: list[Any], key: str, path: Path, on_fault: OnFault) -> list[Entry]:
    def check(numbered: tuple[int, Any]) -> Entry:
        number, item = numbered
        for name, kind in _KEYS[key].items():
            value = item.get(name) if isinstance(item, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise DataError(f'{path}: {key}[{number}]: {name!r} is missing or of the wrong '
                                f'type: {short(value)}')
        return dict(item)
    return read_each(enumerate(items), check, on_fault)


def _image(entry: Entry, annotations: Sequence[Entry], names: Mapping[Any, str], path: Path,
           on_fault: OnFault, own_size: Callable[[Entry], Size] | None) -> AnnotatedImage:
    where = f'{path}: image {entry["file_name"]}'
    width, height = entry.get('width'), entry.get('height')
    if own_size and all(side in (None, 0, -1) for side in (width, height)):
        size_hw = own_size(entry)
    else:
        try:
            # TypeError: None, a list; ValueError, OverflowError: nan, infinite
            size_hw = check_size((int(height), int(width)), where)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError) as err:
            raise DataError(f'{where}: its size is {short(width)} x {short(height)}, expected '
                            'pixels') from err
    return AnnotatedImage(size_hw, read_each(
        annotations, lambda item: check_object(_object(item, names, where), size_hw), on_fault))


def _object(item: Entry, names: Mapping[Any, str], where: str) -> Annotation:
    category, where = item['category_id'], f'{where}: annotation {short(item.get("id"))}'
    if category not in names:
        raise DataError(f'{where}: category {category!r} is not among the categories')
    try:
        x, y, width, height = (float(side) for side in item['bbox'])
    except (TypeError, ValueError, OverflowError) as err:  # the latter of huge integers
        raise DataError(f'{where}: bbox is {short(item["bbox"])}, expected four numbers') from err
    return Annotation(names[category], (x, y, x + width, y + height),
                      read_flag(item.get('iscrowd'), f'{where}: iscrowd'), where)
