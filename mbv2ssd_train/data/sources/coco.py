"""COCO JSON with images: annotations/instances_SPLIT.json, or a file beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mbv2ssd_ros.core.annotations import AnnotatedImage, OnFault, read_each, refuse, Size
from mbv2ssd_ros.core.annotations.coco import Entry, load_coco
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.sources.annotations import (
    ALL,
    Layout,
    own_size,
    Reader,
    SourceImage,
    to_records,
)
from mbv2ssd_train.data.sources.paths import inside, Pictures

_INSTANCES = 'instances_'
_HEAD = 2 ** 16  # bytes in which the keys of COCO are looked for


def find_coco(folder: Path) -> Layout | None:
    """Recognise JSON files of COCO in a folder or in its `annotations`."""
    found = [path for place in (folder / 'annotations', folder)
             for path in sorted(place.glob('*.json')) if _is_coco(path)]
    if not found:
        return None
    splits: dict[str, Reader] = {}
    for path in found:
        name = path.stem.removeprefix(_INSTANCES)
        name = ALL if len(found) == 1 and not path.stem.startswith(_INSTANCES) else name
        images = next((place for place in (folder / name, folder / 'images' / name)
                       if place.is_dir()), folder)
        splits[name] = partial(coco_images, path, images)
    return Layout(f'COCO JSON ({", ".join(path.name for path in found[:4])})', splits)


def _is_coco(path: Path) -> bool:
    """Look for the keys at both ends, which is enough and quick on large files."""
    if path.stem.startswith(_INSTANCES):
        return True
    with path.open('rb') as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _HEAD))
        ends = head + file.read()
    return ((b'"images"' in ends or b'"file_name"' in ends)
            and any(key in ends for key in (b'"annotations"', b'"categories"', b'"bbox"')))


def read_coco(json_path: Path, images: Path, class_names: Sequence[str],
              on_fault: OnFault = refuse) -> list[ImageRecord]:
    """
    Read a COCO file: one record for each image in its order, also those without objects.

    Its file names are relative to `images`; categories of annotations must be in class_names.
    Raises DataError where the file is missing or malformed.
    """
    return to_records(coco_images(json_path, images, on_fault), class_names, on_fault)


def coco_images(json_path: Path, images: Path, on_fault: OnFault) -> list[SourceImage]:
    """Read the images of a COCO file in its order."""
    pictures: list[Pictures] = []

    def path_of(entry: Entry) -> Path:
        name, where = entry['file_name'], f'{json_path}: image {entry["file_name"]}'
        path = inside(images, name, str(json_path))
        if path.is_file():
            return path
        if not pictures:  # looked through only where names do not fit
            pictures.append(Pictures(images))
        try:
            return pictures[0].find(name, where)
        except DataError as err:
            raise DataError(f'{where}: there is no {path}; {err}') from err

    def size_of(entry: Entry) -> Size:
        return own_size(path_of(entry), f'{json_path}: image {entry["file_name"]}', on_fault)

    def image_of(item: tuple[Entry, AnnotatedImage]) -> SourceImage:
        entry, image = item
        return SourceImage(str(entry['id']), path_of(entry),
                           f'{json_path}: image {entry["file_name"]}', image)
    return read_each(load_coco(json_path, on_fault, size_of), image_of, on_fault)
