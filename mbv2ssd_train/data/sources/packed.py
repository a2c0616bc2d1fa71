"""
Packed sets: `<name>.json` with the boxes and `<name>.part*.zip` with the images.

A set is a few files instead of ten thousand; images are WebP, reduced to the size that training
needs. The JSON holds `classes`, `object_fields` and `images`: id -> {width, height, split,
objects}, in pixels of the original image, with the 1-based inclusive corners of VOC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import json
from operator import index
from pathlib import Path
import re
from typing import Any
import zipfile
import zlib

import cv2

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    check_object,
    check_size,
    OnFault,
    read_each,
    refuse,
)
from mbv2ssd_ros.core.durable import write_whole
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.dataset import Dataset, EncodedImages, ImageRecord
from mbv2ssd_train.data.image_files import MAX_FILE_BYTES, reduce_image
from mbv2ssd_train.data.sources.annotations import label_of, make_record

_FIELDS = ['class', 'xmin', 'ymin', 'xmax', 'ymax', 'difficult', 'truncated']


def read_packed(folder: Path, name: str, class_names: Sequence[str], on_fault: OnFault = refuse
                ) -> tuple[list[ImageRecord], dict[str, str], EncodedImages]:
    """
    Read records in the order of the JSON, the split of each image id, and open the images.

    Raises DataError where a file is missing or malformed; on_fault gets faults of single images
    and objects.
    """
    path = folder / f'{name}.json'
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        fields, names = list(found['object_fields']), list(found['classes'])
        images = dict(found['images'].items())
    except FileNotFoundError as err:
        raise DataError(f'{path}: no such file') from err
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        # ValueError: not JSON; RecursionError: lists in lists in lists
        raise DataError(f'{path}: not a packed set (classes, object_fields, images): {err!r}'
                        ) from err
    if fields[:len(_FIELDS)] != _FIELDS:
        raise DataError(f'{path}: object_fields is {fields}, expected {_FIELDS}')
    for known in names:
        label_of(known, class_names, str(path))
    archives = _open_archives(folder, name)
    records = read_each(
        images.items(),
        lambda item: _read_image(*item, names, class_names, archives, path, on_fault), on_fault)
    splits = {record.image_id: images[record.image_id]['split'] for record in records}
    return records, splits, EncodedImages(lambda record: _read_member(archives, record))


def _read_image(image_id: str, image: Mapping[str, Any], names: Sequence[str],
                class_names: Sequence[str], archives: Mapping[str, zipfile.ZipFile], path: Path,
                on_fault: OnFault) -> ImageRecord:
    if image_id not in archives:
        raise DataError(f'{path}: image {image_id!r} is in none of {path.stem}.part*.zip')
    where = f'{path}: image {image_id}'
    try:
        split, size_hw = image['split'], (index(image['height']), index(image['width']))
        found = list(enumerate(image['objects'], start=1))
    except (KeyError, TypeError, ValueError) as err:
        raise DataError(f'{where}: width, height, split or objects is missing or of the wrong '
                        f'type: {err!r}') from err
    if not isinstance(split, str):
        raise DataError(f'{where}: split is {split!r}, expected a name')
    check_size(size_hw, where)
    objects = read_each(
        found,
        lambda item: check_object(
            _read_object(item[1], names, f'{where}: object {item[0]}'), size_hw), on_fault)
    return make_record(
        image_id, f'{archives[image_id].filename}:{image_id}.webp', where,
        AnnotatedImage(size_hw, objects), class_names, on_fault)


def _read_object(item: Sequence[Any], names: Sequence[str], where: str) -> Annotation:
    try:
        number, xmin, ymin, xmax, ymax, difficult = item[:6]
        corners = (float(xmin - 1), float(ymin - 1), float(xmax), float(ymax))
        name = names[number] if 0 <= number < len(names) else None
    except (TypeError, ValueError, OverflowError) as err:  # the latter of huge integers
        raise DataError(f'{where}: is {short(item)}, expected {_FIELDS}') from err
    if name is None:
        raise DataError(f'{where}: class index {number} of {len(names)} classes')
    return Annotation(name, corners, bool(difficult), where)


def _open_archives(folder: Path, name: str) -> dict[str, zipfile.ZipFile]:
    paths = sorted(folder.glob(f'{name}.part*.zip'))
    if not paths:
        raise DataError(f'{folder / name}.part*.zip: no archive next to {name}.json')
    archives: dict[str, zipfile.ZipFile] = {}
    for path in paths:
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as err:
            raise DataError(f'{path}: not a readable zip archive: {err}') from err
        archives.update((Path(member).stem, archive) for member in archive.namelist())
    return archives


def _read_member(archives: dict[str, zipfile.ZipFile], record: ImageRecord) -> bytes:
    name = f'{record.image_id}.webp'
    try:
        archive = archives[record.image_id]
        if (size := archive.getinfo(name).file_size) > MAX_FILE_BYTES:
            raise DataError(f'{record.source}: unpacks to {size / 1e9:.1f} GB; '
                            f'{MAX_FILE_BYTES / 1e9:.1f} GB are allowed')
        return archive.read(name)  # never more than that size
    except (KeyError, zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError) as err:
        # RuntimeError: encrypted, or packed in a way that Python does not know
        raise DataError(f'{record.source}: cannot be read: {err}') from err


def write_packed(dataset: Dataset, folder: Path, name: str, split: str, longest_px: int = 360,
                 quality: int = 60, progress: Callable[[Iterable[int]], Iterable[int]] = iter
                 ) -> Path:
    """
    Write a packed set and return its JSON, written last: a set without it is incomplete.

    split is stored with every image; larger images are reduced to longest_px; quality is of WebP,
    1 to 100. Raises ConfigError where no split could have that name, DataError where the set
    exists or an id cannot be a file name.
    """
    path = folder / f'{name}.json'
    check_set_name(name)
    for taken in (path, folder / f'{name}.cache'):
        if taken.exists():
            raise DataError(f'{taken}: exists; choose another name, or remove the set')
    check_ids(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    images: dict[str, Any] = {}
    # stored, not deflated: WebP does not shrink any further
    with zipfile.ZipFile(folder / f'{name}.part1.zip', 'w', zipfile.ZIP_STORED) as archive:
        for index in progress(range(len(dataset))):
            record = dataset.records[index]
            pixels = reduce_image(dataset.image(index), longest_px)
            encoded = cv2.imencode('.webp', pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
            archive.writestr(f'{record.image_id}.webp', bytes(encoded))
            images[record.image_id] = {
                'width': record.size_hw[1], 'height': record.size_hw[0], 'split': split,
                'objects': _objects_of(record)}
    write_whole(path, json.dumps({
        'classes': list(dataset.class_names), 'object_fields': _FIELDS, 'images': images}))
    return path


def check_set_name(name: str) -> None:
    """Raise ConfigError where a split could not name the set."""
    if not re.fullmatch(r'[^@:/\\\0]+', name):
        raise ConfigError(f'a set cannot have the name {name!r}: it is empty or has one of @ : /')


def check_ids(dataset: Dataset) -> None:
    """Raise DataError where an id is not unique or not a safe file name."""
    ids = [record.image_id for record in dataset.records]
    if len(set(ids)) < len(ids):
        raise DataError(f'{dataset.name}: an image id is duplicated; `data check` reports it')
    for image_id in ids:
        if not re.fullmatch(r'[^/\\\0]+', image_id) or image_id in ('.', '..'):
            raise DataError(f'{dataset.name}: the image id {short(image_id)} is no file name; '
                            'rename it in the annotations')


def _objects_of(record: ImageRecord) -> list[list[int | float]]:
    height, width = record.size_hw
    return [
        [int(label) - 1, round(float(x1) * width, 3) + 1, round(float(y1) * height, 3) + 1,
         round(float(x2) * width, 3), round(float(y2) * height, 3), int(difficult), -1]
        for label, (x1, y1, x2, y2), difficult in zip(
            record.labels, record.boxes_xyxy, record.difficult, strict=True)]
