"""CSV with a row for each object: filename,width,height,class,xmin,ymin,xmax,ymax."""

from __future__ import annotations

import csv
from functools import partial
import io
from pathlib import Path

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    check_object,
    check_size,
    OnFault,
    read_each,
)
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.image_files import read_file
from mbv2ssd_train.data.sources.annotations import ALL, Layout, own_size, Reader, SourceImage
from mbv2ssd_train.data.sources.paths import Pictures

_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# other headings of the same columns
_SAME = {'file': 'filename', 'image': 'filename', 'image_path': 'filename', 'path': 'filename',
         'file_name': 'filename', 'img': 'filename', 'image_id': 'filename', 'label': 'class',
         'class_name': 'class', 'name': 'class', 'x1': 'xmin', 'y1': 'ymin', 'x2': 'xmax',
         'y2': 'ymax', 'x_min': 'xmin', 'y_min': 'ymin', 'x_max': 'xmax', 'y_max': 'ymax'}
Row = dict[str, str]


def find_table(folder: Path) -> Layout | None:
    """Recognise CSV files with these columns; each is a split, one alone is `all`."""
    found = [path for place in (folder, folder / 'annotations')
             for path in sorted(place.glob('*.csv')) if _is_table(path)]
    splits: dict[str, Reader] = {
        ALL if len(found) == 1 else path.stem.removesuffix('_labels'):
        partial(table_images, path, folder) for path in found}
    return Layout(f'CSV ({", ".join(path.name for path in found[:4])})', splits) if found else None


def _is_table(path: Path) -> bool:
    with path.open('rb') as file:
        head = file.read(2 ** 12).decode('utf-8-sig', 'replace').splitlines()[:1]
    return {'filename', 'class', *_CORNERS} <= set(_headings(next(csv.reader(head), [])))


def _headings(words: list[str]) -> list[str]:
    words = [word.strip().lower() for word in words]
    return [_SAME[word] if word in _SAME and _SAME[word] not in words else word for word in words]


def table_images(path: Path, folder: Path, on_fault: OnFault) -> list[SourceImage]:
    """
    Read the images of a table, in the order in which they first appear.

    Corners are taken as they stand: 0-based, as most programs write them. A row without class and
    corners is an image without objects.
    """
    try:
        text = read_file(path).decode('utf-8-sig')
        head, *rows = csv.reader(io.StringIO(text, newline=''), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as err:
        raise DataError(f'{path}: not a table in UTF-8 with commas: {err}') from err
    keys, pictures = _headings(head), Pictures(folder)
    of_image: dict[Path, list[tuple[Row, str]]] = {}

    def add(item: tuple[int, list[str]]) -> None:
        number, row = item
        where = f'{path}:{number}'
        if len(row) != len(keys):
            raise DataError(f'{where}: has {len(row)} columns, expected {len(keys)}')
        found = dict(zip(keys, map(str.strip, row)))
        of_image.setdefault(pictures.find(found['filename'], where), []).append((found, where))
    read_each([(number, row) for number, row in enumerate(rows, start=2) if any(row)], add,
              on_fault)
    return read_each(of_image.items(), lambda item: _image(*item, folder, on_fault), on_fault)


def _image(picture: Path, rows: list[tuple[Row, str]], folder: Path, on_fault: OnFault
           ) -> SourceImage:
    first, where = rows[0]
    if first.get('width') in (None, '', '0') or first.get('height') in (None, '', '0'):
        size_hw = own_size(picture, where, on_fault)
    else:
        height, width = (_number(first, side, where) for side in ('height', 'width'))
        size_hw = check_size((int(height), int(width)), where)
    objects = read_each(
        [row for row in rows if row[0]['class'] or any(row[0][key] for key in _CORNERS)],
        lambda row: check_object(_object(*row), size_hw), on_fault)
    return SourceImage(picture.relative_to(folder).with_suffix('').as_posix(), picture, where,
                       AnnotatedImage(size_hw, objects))


def _object(row: Row, where: str) -> Annotation:
    if not row['class']:
        raise DataError(f'{where}: an object has no class')
    x1, y1, x2, y2 = (_number(row, key, where) for key in _CORNERS)
    return Annotation(row['class'], (x1, y1, x2, y2), False, where)


def _number(row: Row, key: str, where: str) -> float:
    try:
        return float(row[key])
    except ValueError as err:
        raise DataError(f'{where}: {key} is {row[key]!r}, expected a number') from err
