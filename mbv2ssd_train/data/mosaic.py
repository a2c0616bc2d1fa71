"""What the network gets to see, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.drawing import draw_boxes
from mbv2ssd_train.data.batch import Batch


def draw_batch(batch: Batch, class_names: Sequence[str], columns: int = 4) -> NDArray[np.uint8]:
    """
    Draw an augmented batch with its boxes.

    Args:
        batch: of a TrainLoader.
        class_names: label k is class_names[k - 1].
        columns: pictures in a row.

    Returns:
        (H, W, 3) uint8 BGR, the pictures in network size side by side.
    """
    height, width = batch.images.shape[1:3]
    tiles = []
    for image, boxes, labels, difficult in zip(
            batch.images.numpy(), batch.boxes_xyxy, batch.labels, batch.difficult, strict=True):
        real = labels > 0
        names = [class_names[label - 1] + (' (difficult)' if hard else '')
                 for label, hard in zip(labels[real].tolist(), difficult[real].tolist(),
                                        strict=True)]
        pixels = boxes[real].numpy() * np.array([width, height] * 2, dtype=np.float32)
        tiles.append(draw_boxes(image[..., ::-1], pixels, names))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[k:k + columns]) for k in range(0, len(tiles), columns)]
    return np.vstack(rows)
