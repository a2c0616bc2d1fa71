"""Annotated images as records of a data set: classes become labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbv2ssd_ros.core.annotations import AnnotatedImage, normalised_boxes, OnFault, read_each
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord


class UnknownClassError(DataError):
    """An object of a class that is not configured."""

    def __init__(self, name: str, class_names: Sequence[str], where: str) -> None:
        super().__init__(
            f'{where}: class {name!r} is not among the configured ones '
            f'({", ".join(class_names)}); add it to the classes (data.classes, --classes) or '
            'correct the file')
        self.name = name


def make_record(image_id: str, source: str, annotated_in: str, image: AnnotatedImage,
                class_names: Sequence[str], on_fault: OnFault) -> ImageRecord:
    """Build a record; an object of an unknown class is a fault and is left out."""
    labelled = read_each(image.objects, lambda item: (
        item, label_of(item.name, class_names, item.where)), on_fault)
    return ImageRecord(
        image_id, source, annotated_in, image.size_hw,
        normalised_boxes([item for item, _ in labelled], image.size_hw),
        np.array([label for _, label in labelled], dtype=np.intp),
        np.array([item.difficult for item, _ in labelled], dtype=bool))


def label_of(name: str, class_names: Sequence[str], where: str) -> int:
    """Return the 1-based label of a class, or raise UnknownClassError."""
    try:
        return tuple(class_names).index(name) + 1
    except ValueError:
        raise UnknownClassError(name, class_names, where) from None
