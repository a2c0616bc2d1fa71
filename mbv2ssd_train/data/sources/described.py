"""Records of a folder with a `dataset.yaml`; see config/dataset_yaml.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbv2ssd_ros.core.annotations import OnFault, refuse
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config.dataset_yaml import FILE_NAME, read_description
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.sources.annotations import to_records
from mbv2ssd_train.data.sources.coco import read_coco
from mbv2ssd_train.data.sources.paths import inside
from mbv2ssd_train.data.sources.table import table_images
from mbv2ssd_train.data.sources.voc import read_voc_files


def read_described(folder: Path, split: str, class_names: Sequence[str],
                   on_fault: OnFault = refuse) -> list[ImageRecord]:
    """Read a split of a dataset.yaml; raises DataError where it or a file is missing or wrong."""
    description = read_description(folder)
    path = folder / FILE_NAME
    if split not in description.splits:
        raise DataError(f'{path}: describes no split {split!r}; it has '
                        f'{", ".join(description.splits)}')
    parts = description.splits[split]
    images = inside(folder, parts.images, str(path))
    annotations = inside(folder, parts.annotations, str(path))
    if annotations.is_dir():
        return read_voc_files(sorted(annotations.glob('*.xml')), images, class_names,
                              on_fault)
    if annotations.suffix == '.csv':
        return to_records(table_images(annotations, images, on_fault), class_names, on_fault)
    return read_coco(annotations, images, class_names, on_fault)
