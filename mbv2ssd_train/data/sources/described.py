"""A folder with a `dataset.yaml`; see config/dataset_yaml.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mbv2ssd_ros.core.annotations import OnFault, refuse
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config.dataset_yaml import FILE_NAME, read_description
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.sources.annotations import Layout, SourceImage, to_records
from mbv2ssd_train.data.sources.coco import coco_images
from mbv2ssd_train.data.sources.paths import inside, Pictures
from mbv2ssd_train.data.sources.table import table_images
from mbv2ssd_train.data.sources.voc import read_xml


def find_described(folder: Path) -> Layout | None:
    """Recognise a folder by its dataset.yaml; raises DataError where that is wrong."""
    if not (folder / FILE_NAME).is_file():
        return None
    description = read_description(folder)
    return Layout(FILE_NAME, {
        name: partial(_read, folder, parts.images, parts.annotations)
        for name, parts in description.splits.items()}, description.classes)


def _read(folder: Path, images_name: str, annotations_name: str, on_fault: OnFault
          ) -> list[SourceImage]:
    images = inside(folder, images_name, str(folder / FILE_NAME))
    annotations = inside(folder, annotations_name, str(folder / FILE_NAME))
    if annotations.is_dir():
        return read_xml(sorted(annotations.glob('*.xml')), annotations, Pictures(images), on_fault)
    read = table_images if annotations.suffix == '.csv' else coco_images
    return read(annotations, images, on_fault)


def read_described(folder: Path, split: str, class_names: Sequence[str],
                   on_fault: OnFault = refuse) -> list[ImageRecord]:
    """Read a split of a dataset.yaml; raises DataError where it or a file is missing or wrong."""
    layout = find_described(folder)
    if layout is None or split not in layout.splits:
        raise DataError(f'{folder / FILE_NAME}: describes no split {split!r}; it has '
                        f'{", ".join(layout.splits) if layout else "none"}')
    return to_records(layout.read(split, on_fault), class_names, on_fault)
