"""What the network gets to see, as a picture."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from math import ceil, sqrt
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.drawing import draw_boxes
from mbv2ssd_train.data.batch import Batch

_GAP_PX, _GAP_GREY = 4, 255
_SMALLEST_TILE_PX = 240  # of the shorter side; text would not be read on a smaller one


def draw_batches(batches: Generator[Batch, None, None], class_names: Sequence[str], count: int,
                 folder: Path) -> Iterator[Path]:
    """
    Draw the first batches of an epoch, and let the others be.

    Args:
        batches: of a loader; closed at the end.
        class_names: label k is class_names[k - 1].
        count: batches to draw.
        folder: created where missing.

    Yields:
        The pictures batch000.png, ...

    Raises:
        DataError: an image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for number, batch in enumerate(islice(batches, count)):
            path = folder / f'batch{number:03}.png'
            path.write_bytes(cv2.imencode('.png', draw_batch(batch, class_names))[1].tobytes())
            yield path
    finally:
        batches.close()


def draw_batch(batch: Batch, class_names: Sequence[str], columns: int | None = None
               ) -> NDArray[np.uint8]:
    """
    Draw an augmented batch with its boxes.

    Args:
        batch: of a loader, on any device.
        class_names: label k is class_names[k - 1].
        columns: pictures in a row; by default as many as make the whole about square.

    Returns:
        (H, W, 3) uint8 BGR, the pictures side by side with a white gap, in network size or
        enlarged by a whole factor where that is tiny.
    """
    height, width = batch.images.shape[1:3]
    factor = max(1, ceil(_SMALLEST_TILE_PX / min(height, width)))
    columns = columns or ceil(sqrt(len(batch) * height / width))
    tiles = []
    for image, boxes, labels, difficult in zip(
            batch.images.cpu().numpy(), batch.boxes_xyxy.cpu(), batch.labels.cpu(),
            batch.difficult.cpu(), strict=True):
        real = labels > 0
        names = [class_names[label - 1] + (' (difficult)' if hard else '')
                 for label, hard in zip(labels[real].tolist(), difficult[real].tolist(),
                                        strict=True)]
        large = image[..., ::-1].repeat(factor, axis=0).repeat(factor, axis=1)
        pixels = boxes[real].numpy() * np.array(large.shape[1::-1] * 2, dtype=np.float32)
        tiles.append(_with_gap(draw_boxes(large, pixels, names)))
    tiles += [np.full_like(tiles[0], _GAP_GREY)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[k:k + columns]) for k in range(0, len(tiles), columns)]
    return np.vstack(rows)[:-_GAP_PX, :-_GAP_PX]


def _with_gap(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add white below and to the right."""
    return np.pad(tile, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=_GAP_GREY)
