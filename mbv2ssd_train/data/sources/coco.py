"""COCO JSON with a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbv2ssd_ros.core.annotations import AnnotatedImage, OnFault, read_each, refuse
from mbv2ssd_ros.core.annotations.coco import Entry, load_coco
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.sources.annotations import make_record
from mbv2ssd_train.data.sources.paths import inside


def read_coco(json_path: Path, images: Path, class_names: Sequence[str],
              on_fault: OnFault = refuse) -> list[ImageRecord]:
    """
    Read a COCO file: one record for each image in its order, also those without objects.

    Its file names are relative to `images`; categories of annotations must be in class_names.
    Raises DataError where the file is missing or malformed.
    """
    return read_each(
        load_coco(json_path, on_fault),
        lambda item: _record(*item, json_path, images, class_names, on_fault), on_fault)


def _record(entry: Entry, image: AnnotatedImage, json_path: Path, images: Path,
            class_names: Sequence[str], on_fault: OnFault) -> ImageRecord:
    where = f'{json_path}: image {entry["file_name"]}'
    path = inside(images, entry['file_name'], str(json_path))
    if not path.is_file():
        raise DataError(f'{where}: there is no {path}')
    return make_record(str(entry['id']), str(path), where, image, class_names, on_fault)
