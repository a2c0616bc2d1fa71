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
