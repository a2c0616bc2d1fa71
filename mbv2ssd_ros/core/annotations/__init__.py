"""
Annotated images as files describe them, checked: no harmful box is let in.

A parser passes each fault to `on_fault` and takes what that returns in place of the item, None
meaning nothing; the default, `refuse`, raises it. A `Remark` is no fault: the item is used.
Classes stay names: the caller decides which of them count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image import MAX_SIDE_PX
from mbv2ssd_ros.core.quoting import short

MAX_PIXELS = 2 ** 27  # of an image, 400 MB when decoded: more is a mistake or an attack
OnFault = Callable[[DataError], object]
Size = tuple[int, int]  # (H, W) in pixels
Item = TypeVar('Item')
Found = TypeVar('Found')


@dataclass(frozen=True)
class Annotation:
    """One object as annotated."""

    name: str  # of its class
    xyxy: tuple[float, float, float, float]  # 0-based corners in pixels of the original image
    difficult: bool
    where: str  # file and line or id, for messages


class Remark(DataError):
    """Something that people should know and that does no harm, as an image without a file."""


class BoxError(DataError):
    """An object whose box cannot be used; a caller may mend it."""

    def __init__(self, message: str, item: Annotation) -> None:
        super().__init__(message)
        self.item = item


@dataclass(frozen=True)
class AnnotatedImage:
    """The objects of one image; none: a negative."""

    size_hw: tuple[int, int]  # of the original image
    objects: Sequence[Annotation]


def normalised_boxes(objects: Sequence[Annotation], size_hw: tuple[int, int]
                     ) -> NDArray[np.float32]:
    """Return the boxes of an image of that size, (N, 4) in [0, 1], cut at its border."""
    boxes = np.array([item.xyxy for item in objects], np.float64).reshape(-1, 4)
    return np.clip(boxes / _sides(size_hw), 0, 1).astype(np.float32)


def in_pixels(boxes_xyxy: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Scale normalised boxes to an image of that size, which may be a reduced copy."""
    return boxes_xyxy * _sides(size_hw)


def _sides(size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.array([size_hw[1], size_hw[0]] * 2, np.float32)


def refuse(fault: DataError) -> None:
    """Raise a fault that is not a remark."""
    if not isinstance(fault, Remark):
        raise fault


def read_each(items: Iterable[Item], read: Callable[[Item], Found], on_fault: OnFault
              ) -> list[Found]:
    """Read items in order; pass the DataError of each unreadable one to on_fault."""
    found = []
    for item in items:
        try:
            found.append(read(item))
        except DataError as err:
            mended: Any = on_fault(err)
            if mended is not None:
                found.append(mended)
    return found


def read_flag(value: object, where: str) -> bool:
    """Read a yes or no as tools write it: 0, '1', true, 'False', None or ''; else DataError."""
    text = str(value).strip().lower()
    if text in ('1', 'true', '1.0'):
        return True
    if value is None or text in ('', '0', 'false', '0.0'):
        return False
    raise DataError(f'{where} is {short(value)}, expected 0 or 1')


def check_size(size_hw: tuple[int, int], where: str) -> tuple[int, int]:
    """Return the size of an image; DataError where it is impossible."""
    height, width = size_hw
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX
            and height * width <= MAX_PIXELS):
        raise DataError(
            f'{where}: image size {short(width)} x {short(height)} is impossible; sides '
            f'are 1 to {MAX_SIDE_PX} pixels, {MAX_PIXELS // 10 ** 6} million of them at most')
    return size_hw


def check_object(item: Annotation, size_hw: tuple[int, int] | None) -> Annotation:
    """Return an object; DataError for a box not finite, empty or outside a known size."""
    x1, y1, x2, y2 = item.xyxy
    box = f'{item.where}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g})'
    if not np.isfinite(item.xyxy).all():
        raise BoxError(f'{box} is not finite; correct or remove it', item)
    if x2 <= x1 or y2 <= y1:
        raise BoxError(f'{box} has no area; correct or remove it', item)
    if size_hw is None:
        return item
    height, width = size_hw
    # one pixel of slack: tools disagree on 0-based or 1-based corners
    if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
        raise BoxError(f'{box} reaches outside the image of {width} x {height}; correct or '
                       'remove it', item)
    if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0):
        raise BoxError(f'{box} has no area inside the image of {width} x {height}; remove it',
                       item)
    return item
