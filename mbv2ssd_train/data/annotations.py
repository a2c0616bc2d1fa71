"""
Checks that every source of boxes shares: no box reaches training that could harm it.

Reading for training stops at the first fault (`refuse`); `data check` collects them all. A reader
therefore tells a function of a fault and goes on without what was at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image import MAX_SIDE_PX
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.image_files import MAX_PIXELS

OnFault = Callable[[DataError], None]
Item = TypeVar('Item')
Found = TypeVar('Found')


class UnknownClassError(DataError):
    """An object of a class that nobody asked for."""

    def __init__(self, name: str, class_names: Sequence[str], annotated_in: str) -> None:
        """
        Say what was found and what is known.

        Args:
            name: of the class.
            class_names: known ones.
            annotated_in: annotation file, for the message.
        """
        super().__init__(
            f'{annotated_in}: class {name!r} is not among the configured ones '
            f'({", ".join(class_names)}); add it to the classes (data.classes, --classes) or '
            'correct the file')
        self.name = name


def refuse(fault: DataError) -> None:
    """
    Stop at a fault.

    Args:
        fault: raised.
    """
    raise fault


def read_each(items: Iterable[Item], read: Callable[[Item], Found], on_fault: OnFault
              ) -> list[Found]:
    """
    Read items one by one, telling of those that cannot be read.

    Args:
        items: to read.
        read: reads one, or raises DataError.
        on_fault: told of each fault; may raise.

    Returns:
        What could be read, in order.
    """
    found = []
    for item in items:
        try:
            found.append(read(item))
        except DataError as err:
            on_fault(err)
    return found


@dataclass(frozen=True)
class Annotation:
    """One object as annotated: 0-based corners in pixels of the original image."""

    label: int  # 1-based
    xyxy: tuple[float, float, float, float]
    difficult: bool


def make_record(image_id: str, source: str, annotated_in: str, size_hw: tuple[int, int],
                objects: Sequence[Annotation]) -> ImageRecord:
    """
    Build a record.

    Args:
        image_id: unique in its data set.
        source: image file, for messages.
        annotated_in: annotation file, for messages.
        size_hw: of the original image.
        objects: checked ones; may be empty: an image without objects is a negative.

    Returns:
        The record, boxes normalised.
    """
    height, width = size_hw
    boxes = np.array([item.xyxy for item in objects], dtype=np.float64).reshape(-1, 4)
    boxes = np.clip(boxes / np.array([width, height] * 2), 0, 1).astype(np.float32)
    return ImageRecord(
        image_id, source, annotated_in, size_hw, boxes,
        np.array([item.label for item in objects], dtype=np.intp),
        np.array([item.difficult for item in objects], dtype=bool))


def check_size(size_hw: tuple[int, int], annotated_in: str) -> tuple[int, int]:
    """
    Check the size of an image as annotated.

    Args:
        size_hw: of the image.
        annotated_in: annotation file, for messages.

    Returns:
        The size.

    Raises:
        DataError: it is impossible.
    """
    height, width = size_hw
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX
            and height * width <= MAX_PIXELS):
        raise DataError(
            f'{annotated_in}: image size {short(width)} x {short(height)} is impossible; sides '
            f'are 1 to {MAX_SIDE_PX} pixels, {MAX_PIXELS // 10 ** 6} million of them at most')
    return size_hw


def check_object(item: Annotation, size_hw: tuple[int, int], where: str) -> Annotation:
    """
    Check one object.

    Args:
        item: as annotated.
        size_hw: of its image.
        where: file and place, for messages.

    Returns:
        The object.

    Raises:
        DataError: its box is not finite, empty or outside the image.
    """
    height, width = size_hw
    x1, y1, x2, y2 = item.xyxy
    box = f'{where}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g})'
    if not np.isfinite(item.xyxy).all():
        raise DataError(f'{box} is not finite; correct or remove it')
    if x2 <= x1 or y2 <= y1:
        raise DataError(f'{box} has no area; correct or remove it')
    # a pixel of slack: tools disagree whether corners are 0-based or 1-based
    if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
        raise DataError(
            f'{box} reaches outside the image of {width} x {height}; correct or remove it')
    if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0):
        raise DataError(f'{box} has no area inside the image of {width} x {height}; remove it')
    return item


def label_of(name: str, class_names: Sequence[str], annotated_in: str) -> int:
    """
    Look up a class.

    Args:
        name: as annotated.
        class_names: as configured.
        annotated_in: annotation file, for messages.

    Returns:
        1-based label.

    Raises:
        UnknownClassError: names it and what is known.
    """
    try:
        return tuple(class_names).index(name) + 1
    except ValueError:
        raise UnknownClassError(name, class_names, annotated_in) from None
