"""Mosaics of training batches and of detections."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.drawing import draw_boxes, draw_detections
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.data.loading.batch import Batch

_GAP_PX, _GAP_GREY = 4, 255
_SMALLEST_TILE_PX = 240  # shorter side; labels are unreadable on smaller ones
_RESULT_PX, _CAPTION_PX = 320, 20


def draw_batches(batches: Generator[Batch, None, None], class_names: Sequence[str], count: int,
                 folder: Path) -> Iterator[Path]:
    """Yield batch000.png, ... of the first batches of an epoch; the generator is closed then."""
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
    Draw an augmented batch with its boxes, (H, W, 3) uint8 BGR, tiles with a white gap.

    Tiles have the network size, or a whole multiple where that is tiny. By default `columns` makes
    the picture about square.
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
    return _side_by_side(tiles, columns)


def draw_results(dataset: Dataset, results: Sequence[ImageResult], score_threshold: float = 0.35
                 ) -> NDArray[np.uint8]:
    """
    Draw truth and detections of at least one image beside each other, (H, W, 3) uint8 BGR.

    Each in a square of 320 pixels, with the name of the image below it.
    """
    tiles = []
    for result in results:
        image, (height, width) = dataset.image(result.index), result.size_hw
        scale = _RESULT_PX / max(height, width)
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        small: Any = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
        truth, found = result.truth, result.detections
        shown = found.scores >= score_threshold
        pair = (
            draw_boxes(small, truth.boxes_xyxy * scale, [
                dataset.class_names[label - 1] + (' (difficult)' if hard else '')
                for label, hard in zip(truth.labels, truth.difficult, strict=True)]),
            draw_detections(small, found.boxes_xyxy[shown] * scale, found.scores[shown],
                            [dataset.class_names[label - 1] for label in found.labels[shown]]))
        tile = np.hstack([_with_gap(_padded(drawn)) for drawn in pair])
        for text, left in ((f'{result.name}: truth', 0),
                           (f'detections from {score_threshold:g}', _RESULT_PX + _GAP_PX)):
            cv2.putText(tile, text, (left + 4, size_wh[1] + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45,
                        (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    return _side_by_side(tiles, columns=min(2, len(tiles)))


def _padded(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill a picture up to its square and the line of text below."""
    return np.pad(drawn, ((0, _RESULT_PX + _CAPTION_PX - drawn.shape[0]),
                          (0, _RESULT_PX - drawn.shape[1]), (0, 0)), constant_values=_GAP_GREY)


def _side_by_side(tiles: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    tiles = tiles + [np.full_like(tiles[0], _GAP_GREY)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[k:k + columns]) for k in range(0, len(tiles), columns)]
    return np.vstack(rows)[:-_GAP_PX, :-_GAP_PX]


def _with_gap(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add white below and to the right."""
    return np.pad(tile, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=_GAP_GREY)
