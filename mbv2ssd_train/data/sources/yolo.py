"""
YOLO: a text file for each image, with `class cx cy width height` or a polygon in each line.

Numbers are shares of the picture's sides. Splits and names of classes are in a data.yaml, or the
names in classes.txt or obj.names (Darknet) and the splits in lists of paths or in folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    check_object,
    OnFault,
    read_each,
    Remark,
    Size,
)
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.image_files import read_file
from mbv2ssd_train.data.sources.annotations import (
    ALL,
    Layout,
    picture_size,
    Reader,
    SourceImage,
)
from mbv2ssd_train.data.sources.paths import Pictures, SPLIT_NAMES
from mbv2ssd_train.strict_yaml import parse_yaml

_NAMES = ('classes.txt', 'obj.names', 'predefined_classes.txt')


def find_yolo(folder: Path) -> Layout | None:
    """Recognise a folder with a data.yaml, or with labels and a list of the classes."""
    for path in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
        found = parse_yaml(path.read_text(encoding='utf-8-sig'), str(path)) if (
            b'names' in path.read_bytes()) else {}
        if 'names' in found and {'train', 'val', 'test'} & found.keys():
            return _of_yaml(found, path)
    listed = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    has_labels = any((folder / 'labels').rglob('*.txt')) or any(
        (folder / name / 'labels').is_dir() for name in SPLIT_NAMES)
    if listed is None:
        if has_labels:
            raise DataError(f'{folder / "labels"}: has text files of YOLO, and no file names the '
                            f'classes; write {folder / "classes.txt"}, one name a line, in the '
                            'order of their numbers')
        return None
    classes = tuple(line.strip() for line in _text(listed).splitlines() if line.strip())
    pictures = Pictures(folder)
    lists = [path for path in sorted(folder.glob('*.txt')) if path.name not in _NAMES
             and path.stem.lower() in SPLIT_NAMES]
    splits: dict[str, Reader] = {
        path.stem: partial(_read, pictures, (str(path),), classes, folder) for path in lists}
    if not splits:
        for path in pictures.files:
            for part in path.relative_to(folder).parts[:-1]:
                if part.lower() in SPLIT_NAMES:
                    splits[part] = partial(_read_folder, pictures, part, classes)
    return Layout(f'YOLO ({listed.name})',
                  splits or {ALL: partial(_read_folder, pictures, None, classes)}, classes)


def _of_yaml(found: dict[str, Any], path: Path) -> Layout:
    names = found['names']
    if isinstance(names, dict):  # number -> name
        if sorted(names) != list(range(len(names))):
            raise DataError(f'{path}: names has the numbers {short(sorted(names))}, expected 0 to '
                            f'{len(names) - 1}')
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f'{path}: names is {short(names)}, expected a list of classes')
    classes = tuple(str(name).strip() for name in names)
    pictures, splits = Pictures(path.parent), {}
    for name, value in found.items():
        if name in SPLIT_NAMES and value:
            places = tuple(map(str, value if isinstance(value, list) else [value]))
            splits[name] = partial(_read, pictures, places, classes, path,
                                   keypoints='kpt_shape' in found)
    return Layout(f'YOLO ({path.name})', splits, classes)


def _read(pictures: Pictures, places: Sequence[str], classes: Sequence[str], named_in: Path,
          on_fault: OnFault, keypoints: bool = False) -> list[SourceImage]:
    """Read what a data.yaml or a list names: folders of images, or lists of paths."""
    files: list[Path] = []
    for place in places:
        found = _existing(pictures.folder, place)
        if found is None:
            raise DataError(f'{named_in}: there is no {place!r} in {pictures.folder}')
        if found.is_dir():
            files += [path for path in pictures.files if found in path.parents]
        else:
            files += _listed(found, pictures, on_fault)
    return _images(pictures, dict.fromkeys(files), classes, on_fault, keypoints)


def _listed(listing: Path, pictures: Pictures, on_fault: OnFault) -> list[Path]:
    lines = [line.strip() for line in _text(listing).splitlines()]
    found = read_each([line for line in lines if line],
                      lambda line: pictures.find(line, str(listing)), on_fault)
    for path, count in Counter(found).items():
        if count > 1:
            on_fault(DataError(f'{listing}: lists {path} {count} times; leave it in once'))
    return found


def _read_folder(pictures: Pictures, part: str | None, classes: Sequence[str], on_fault: OnFault
                 ) -> list[SourceImage]:
    files = [path for path in pictures.files
             if part is None or part in path.relative_to(pictures.folder).parts[:-1]]
    return _images(pictures, files, classes, on_fault)


def _existing(folder: Path, place: str) -> Path | None:
    """Find a path of another machine: without its first parts, inside the folder."""
    parts = [part for part in place.replace('\\', '/').split('/') if part not in ('', '.', '..')]
    for first in range(len(parts) + 1):
        path = folder.joinpath(*parts[first:])
        if path.exists():
            return path if first < len(parts) or place in ('.', './', '') else None
    return None


def _images(pictures: Pictures, files: Iterable[Path], classes: Sequence[str], on_fault: OnFault,
            keypoints: bool = False) -> list[SourceImage]:
    def image_of(path: Path) -> SourceImage:
        labels = _labels_of(path, pictures.folder)
        size_hw = picture_size(path)
        objects: list[Annotation] = []
        if labels is None:
            on_fault(Remark(f'{path}: has no text file; it is used as an image without objects'))
        else:
            objects = parse_yolo(_text(labels), str(labels), size_hw, classes, on_fault, keypoints)
        return SourceImage(path.relative_to(pictures.folder).with_suffix('').as_posix(), path,
                           str(labels or path), AnnotatedImage(size_hw, objects))
    return read_each(files, image_of, on_fault)


def _labels_of(image: Path, folder: Path) -> Path | None:
    """Return the text file of an image: beside it, or below labels/ in place of images/."""
    name = f'{image.stem}.txt'
    parts = image.relative_to(folder).parts[:-1]
    candidates = [image.with_name(name), image.parent / 'labels' / name, folder.joinpath(
        'labels', *parts, name)]
    for place, part in enumerate(parts):
        if part.lower() in ('images', 'jpegimages'):
            candidates.append(folder.joinpath(*parts[:place], 'labels', *parts[place + 1:], name))
    return next((path for path in candidates if path.is_file()), None)


def _text(path: Path) -> str:
    try:
        return read_file(path).decode('utf-8-sig')
    except UnicodeDecodeError as err:
        raise DataError(f'{path}: not text in UTF-8: {err}') from err


def parse_yolo(text: str, source: str, size_hw: Size, classes: Sequence[str], on_fault: OnFault,
               keypoints: bool = False) -> list[Annotation]:
    """
    Read the objects of an image; polygons become their bounding boxes.

    A line that is there twice counts once, with a remark. With keypoints, numbers behind the box
    are not a polygon.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = ' '.join(line.split())
        if line in lines:
            on_fault(Remark(f'{source}:{number}: is line {lines[line]} again; counted once'))
        elif line:
            lines[line] = number
    return read_each(
        lines.items(), lambda item: check_object(
            _object(item[0].split(), f'{source}:{item[1]}', size_hw, classes, keypoints), size_hw),
        on_fault)


def _object(words: Sequence[str], where: str, size_hw: Size, classes: Sequence[str],
            keypoints: bool) -> Annotation:
    try:
        number, *values = map(float, words)
    except ValueError as err:
        raise DataError(f'{where}: is {short(" ".join(words))}, expected numbers: class cx cy '
                        'width height, or a polygon') from err
    if number not in range(len(classes)):
        raise DataError(f'{where}: class {words[0]} of {len(classes)} ({", ".join(classes[:20])}, '
                        'from 0); complete the names of the classes, or correct the file')
    height, width = size_hw
    if len(values) == 4 or keypoints and len(values) > 4:
        cx, cy, w, h = values[:4]
        sides = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        sides = (min(xs), min(ys), max(xs), max(ys))
    else:
        raise DataError(f'{where}: has {len(values)} numbers behind the class, expected 4 (a box) '
                        'or an even number from 6 on (a polygon)')
    if max(map(abs, values)) > 2:
        raise DataError(f'{where}: has {max(values):g}, expected shares of the picture, 0 to 1; '
                        'are these pixels?')
    x1, y1, x2, y2 = sides
    return Annotation(classes[int(number)],
                      (x1 * width, y1 * height, x2 * width, y2 * height), False, where)
