"""One annotated frame, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.frame_names import FrameKey


@dataclass(frozen=True)
class AnnotatedFrame:
    """The objects of one frame."""

    name: str  # as its source has it, for messages
    key: FrameKey
    size_hw: tuple[int, int] | None  # as annotated; None where the source does not say
    boxes_xyxy: NDArray[np.float32]  # (N, 4) 0-based corners in pixels, inside the image
    names: tuple[str, ...]  # N class names
    difficult: NDArray[np.bool_]  # (N,)


def annotated_frame(name: str, key: FrameKey, size_hw: tuple[int, int] | None,
                    boxes_xyxy: Sequence[Sequence[float]], names: Sequence[str],
                    difficult: Sequence[bool], where: str) -> AnnotatedFrame:
    """
    Build a frame out of what was read.

    Args:
        name: of the frame.
        key: that finds it.
        size_hw: as annotated.
        boxes_xyxy: N boxes in pixels, cut at the border of the image.
        names: N classes.
        difficult: N flags.
        where: file, for messages.

    Returns:
        The frame; with boxes rounded as training rounds them, so that figures agree.

    Raises:
        DataError: a box is not finite, has no area or lies outside the image.
    """
    boxes = np.array(boxes_xyxy, np.float64).reshape(-1, 4)
    for box in boxes:
        if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
            raise DataError(f'{where}: {name}: box {box.round(2).tolist()} (x1, y1, x2, y2) is '
                            'not finite or has no area; correct or remove it')
    if size_hw is not None:
        boxes = _inside(boxes, size_hw, name, where)
    return AnnotatedFrame(name, key, size_hw, boxes.astype(np.float32), tuple(names),
                          np.array(difficult, bool).reshape(-1))


def _inside(boxes: NDArray[np.float64], size_hw: tuple[int, int], name: str, where: str
            ) -> NDArray[np.float64]:
    height, width = size_hw
    if height < 1 or width < 1:
        raise DataError(f'{where}: {name}: its size is {width} x {height}')
    sides = np.array([width, height] * 2)
    # a pixel of slack: tools disagree whether corners are 0-based or 1-based
    outside = (boxes < -1).any(axis=1) | (boxes > sides + 1).any(axis=1)
    if outside.any():
        box = boxes[int(np.argmax(outside))].round(2).tolist()
        raise DataError(f'{where}: {name}: box {box} (x1, y1, x2, y2) reaches outside the image '
                        f'of {width} x {height}; correct or remove it')
    shares: NDArray[np.float32] = np.clip(boxes / sides, 0, 1).astype(np.float32)
    return shares * sides.astype(np.float32)
