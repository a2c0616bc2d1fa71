"""Checks that every source of boxes shares: no box reaches training that could harm it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord


@dataclass(frozen=True)
class Annotation:
    """One object as annotated: 0-based corners in pixels of the original image."""

    label: int  # 1-based
    xyxy: tuple[float, float, float, float]
    difficult: bool


def make_record(image_id: str, source: str, annotated_in: str, size_hw: tuple[int, int],
                objects: Sequence[Annotation]) -> ImageRecord:
    """
    Build a record, refusing what cannot be learnt from.

    Args:
        image_id: unique in its data set.
        source: image file, for messages.
        annotated_in: annotation file, for messages.
        size_hw: of the original image.
        objects: may be empty: an image without objects is a negative.

    Returns:
        The record, boxes normalised.

    Raises:
        DataError: an impossible size, or a box that is empty, not finite or outside the image.
    """
    height, width = size_hw
    if min(size_hw) < 1:
        raise DataError(f'{annotated_in}: image size {width} x {height} is impossible')
    for number, item in enumerate(objects, start=1):
        x1, y1, x2, y2 = item.xyxy
        where = f'{annotated_in}: object {number}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g})'
        if not np.isfinite(item.xyxy).all():
            raise DataError(f'{where} is not finite; correct or remove it')
        if x2 <= x1 or y2 <= y1:
            raise DataError(f'{where} has no area; correct or remove it')
        # a pixel of slack: tools disagree whether corners are 0-based or 1-based
        if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
            raise DataError(
                f'{where} reaches outside the image of {width} x {height}; correct or remove it')
    boxes = np.array([item.xyxy for item in objects], dtype=np.float64).reshape(-1, 4)
    boxes = np.clip(boxes / np.array([width, height] * 2), 0, 1).astype(np.float32)
    return ImageRecord(
        image_id, source, size_hw, boxes,
        np.array([item.label for item in objects], dtype=np.intp),
        np.array([item.difficult for item in objects], dtype=bool))


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
        DataError: unknown; names it and what is known.
    """
    try:
        return tuple(class_names).index(name) + 1
    except ValueError:
        raise DataError(
            f'{annotated_in}: class {name!r} is not among the configured ones '
            f'({", ".join(class_names)}); add it to data.classes or correct the file') from None
