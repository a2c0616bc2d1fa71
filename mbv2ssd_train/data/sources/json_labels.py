"""JSON of labelme, a file for each image, and of Label Studio, a list of tasks."""

from __future__ import annotations

from functools import partial
import json
import os
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    check_object,
    check_size,
    OnFault,
    read_each,
    Remark,
)
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.image_files import read_file
from mbv2ssd_train.data.sources.annotations import (
    ALL,
    Layout,
    own_size,
    picture_size,
    SourceImage,
)
from mbv2ssd_train.data.sources.paths import Pictures, SPLIT_NAMES
from mbv2ssd_train.data.sources.voc import negatives

_WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
_HEAD = 2 ** 16


def find_labelme(folder: Path) -> Layout | None:
    """Recognise JSON files of labelme beside the images, or in a folder of their own."""
    files = [path for path in sorted([*folder.glob('*.json'), *folder.glob('*/*.json')])
             if path.parent.name.lower() not in SPLIT_NAMES and _has(path, b'"shapes"')]
    return Layout('labelme JSON', {ALL: partial(_labelme_images, files, folder)}
                  ) if files else None


def find_label_studio(folder: Path) -> Layout | None:
    """Recognise an export of Label Studio as JSON or JSON-MIN."""
    files = [path for path in sorted(folder.glob('*.json'))
             if _has(path, b'rectanglelabels') or _has(path, b'"original_width"')]
    if len(files) > 1:
        raise DataError(f'{folder}: {", ".join(path.name for path in files)} are exports of Label '
                        'Studio; keep one')
    return Layout(f'Label Studio JSON ({files[0].name})',
                  {ALL: partial(_label_studio_images, files[0], folder)}) if files else None


def _has(path: Path, key: bytes) -> bool:
    """Look for a key at both ends of a file: labelme puts the picture in the middle."""
    with path.open('rb') as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _HEAD))
        return key in head or key in file.read()


def _load(path: Path) -> Any:
    try:
        return json.loads(read_file(path).decode('utf-8-sig'))
    except (ValueError, RecursionError) as err:
        raise DataError(f'{path}: not JSON: {err}') from err


def _labelme_images(files: list[Path], folder: Path, on_fault: OnFault) -> list[SourceImage]:
    pictures = Pictures(folder)
    found = read_each(files, lambda path: _labelme_image(path, pictures, on_fault), on_fault)
    return found + negatives(pictures, found, on_fault)


def _labelme_image(path: Path, pictures: Pictures, on_fault: OnFault) -> SourceImage:
    content = _load(path)
    try:
        shapes, name = list(content['shapes']), content.get('imagePath') or ''
        size = content.get('imageHeight'), content.get('imageWidth')
    except _WRONG as err:
        raise DataError(f'{path}: not of labelme (shapes, imagePath): {err!r}') from err
    stem = path.relative_to(pictures.folder).with_suffix('').as_posix()
    picture = (pictures.of_stem(stem, str(path)) if pictures.has_stem(stem)
               else pictures.find(str(name), str(path)))
    size_hw = (check_size(size, str(path)) if all(isinstance(side, int) and side for side in size)
               else own_size(picture, str(path), on_fault))
    return SourceImage(stem, picture, str(path), AnnotatedImage(size_hw, read_each(
        enumerate(shapes), lambda item: check_object(
            _shape(item[1], f'{path}: shapes[{item[0]}]'), size_hw), on_fault)))


def _shape(shape: Any, where: str) -> Annotation:
    try:
        kind = shape.get('shape_type', 'polygon')
        points = [(float(x), float(y)) for x, y in shape['points']]
        if kind == 'circle':  # centre, and a point on the rim
            (x, y), (rim_x, rim_y) = points
            radius = ((rim_x - x) ** 2 + (rim_y - y) ** 2) ** 0.5
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        name = str(shape['label']).strip()
    except _WRONG as err:
        raise DataError(f'{where}: is {short(shape)}, expected a label and points') from err
    if kind in ('point', 'line', 'linestrip', 'points') or len(points) < 2 or not name:
        raise DataError(f'{where}: a {kind} {name!r} has no box; remove it, or draw a rectangle')
    xs, ys = zip(*points)
    return Annotation(name, (min(xs), min(ys), max(xs), max(ys)), False, where)


def _label_studio_images(path: Path, folder: Path, on_fault: OnFault) -> list[SourceImage]:
    tasks, pictures = _load(path), Pictures(folder)
    if not isinstance(tasks, list):
        raise DataError(f'{path}: expected a list of tasks, found {type(tasks).__name__}')
    return read_each(enumerate(tasks), lambda item: _task_image(
        item[1], f'{path}: [{item[0]}]', pictures, on_fault), on_fault)


def _task_image(task: Any, where: str, pictures: Pictures, on_fault: OnFault) -> SourceImage:
    try:
        data = task.get('data', task)
        urls = [value for value in data.values() if isinstance(value, str) and os.path.splitext(
            value.partition('?d=')[2] or value)[1]]
        url = data.get('image') or urls[0]
        if 'annotations' in task:
            drawn = [item for one in task['annotations'] if not one.get('was_cancelled')
                     for item in one['result'] if item['type'].startswith('rectangle')]
            results = [(item['value'], item) for item in drawn]
        else:  # JSON-MIN: a list under the name of the label's tag
            results = [(item, item) for value in data.values() if isinstance(value, list)
                       for item in value if 'rectanglelabels' in item]
    except _WRONG as err:
        raise DataError(f'{where}: not a task of Label Studio with an image: {err!r}') from err
    if 'annotations' in task and not task['annotations']:
        on_fault(Remark(f'{where}: {short(url)} has no annotation; it is used as an image without '
                        'objects'))
    picture = _uploaded(str(url).partition('?d=')[2] or str(url), pictures, where)
    size_hw = picture_size(picture)
    return SourceImage(
        picture.relative_to(pictures.folder).with_suffix('').as_posix(), picture, where,
        AnnotatedImage(size_hw, read_each(results, lambda item: check_object(
            _result(*item, where, size_hw), size_hw), on_fault)))


def _uploaded(url: str, pictures: Pictures, where: str) -> Path:
    """Find a picture; an upload has eight hexadecimal digits and - in front of its name."""
    try:
        return pictures.find(url, where)
    except DataError:
        name = url.rpartition('/')[2]
        if name[8:9] == '-' and all(digit in '0123456789abcdef' for digit in name[:8]):
            return pictures.find(name[9:], where)
        raise


def _result(value: Any, item: Any, where: str, size_hw: tuple[int, int]) -> Annotation:
    where = f'{where}: {short(item.get("id", "object"))}'
    height, width = size_hw
    try:
        if value.get('rotation'):
            raise DataError(f'{where}: is turned by {short(value["rotation"])} degrees; draw it '
                            'upright')
        name, = value['rectanglelabels']
        x, y = value['x'] * width / 100, value['y'] * height / 100
        right, bottom = x + value['width'] * width / 100, y + value['height'] * height / 100
        return Annotation(str(name).strip(), (float(x), float(y), float(right), float(bottom)),
                          False, where)
    except _WRONG as err:
        raise DataError(f'{where}: is {short(value)}, expected x, y, width, height in percent and '
                        'one rectanglelabel') from err
