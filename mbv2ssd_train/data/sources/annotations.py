"""An annotated image of any format, and as a record of a data set: classes become labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    normalised_boxes,
    OnFault,
    read_each,
    Remark,
    Size,
)
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.image_files import image_size_hw, read_file


@dataclass(frozen=True)
class SourceImage:
    """One image of a folder, its objects with the names of their classes."""

    image_id: str
    path: Path
    annotated_in: str  # for messages
    image: AnnotatedImage


Reader = Callable[[OnFault], list[SourceImage]]


@dataclass(frozen=True)
class Layout:
    """What a folder was recognised as; every split is read on demand."""

    form: str  # for people, e.g. 'YOLO (data.yaml)'
    splits: Mapping[str, Reader]
    classes: tuple[str, ...] = ()  # in the order of a list of them; empty: there is none

    def read(self, name: str, on_fault: OnFault) -> list[SourceImage]:
        """Read a split, or `all`: the images of every split, each once."""
        if name != ALL or ALL in self.splits:
            return self.splits[name](on_fault)
        found: dict[Path, SourceImage] = {}
        for read in self.splits.values():
            for image in read(on_fault):
                found.setdefault(image.path, image)
        return list(found.values())


ALL = 'all'  # the split of every image


class UnknownClassError(DataError):
    """An object of a class that is not configured."""

    def __init__(self, name: str, class_names: Sequence[str], where: str) -> None:
        super().__init__(
            f'{where}: class {name!r} is not among the configured ones '
            f'({", ".join(class_names)}); add it to the classes (data.classes, --classes) or '
            'correct the file')
        self.name = name


def own_size(path: Path, annotated_in: str, on_fault: OnFault) -> Size:
    """Read the size of a picture whose annotation has none, with a remark."""
    on_fault(Remark(f'{annotated_in}: has no image size; that of {path} is used'))
    return picture_size(path)


def picture_size(path: Path) -> Size:
    """Read the size of a picture from its header, (H, W), turned as EXIF asks."""
    return image_size_hw(read_file(path), str(path))


def to_records(images: Iterable[SourceImage], class_names: Sequence[str], on_fault: OnFault
               ) -> list[ImageRecord]:
    """Turn images into records; objects of unknown classes are faults and are left out."""
    return [make_record(each.image_id, str(each.path), each.annotated_in, each.image, class_names,
                        on_fault) for each in images]


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
