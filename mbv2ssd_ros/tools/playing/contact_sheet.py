"""Several pictures with captions in one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

TILE_WH = (320, 240)
COLUMNS = 4
_CAPTION_PX = 24
_GAP_PX = 6  # margin around every picture with its caption
_PAPER, _INK = 255, (0, 0, 0)


def contact_sheet(pictures: Sequence[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """
    Arrange pictures (H, W, 3) of any sizes in rows, each with its caption below.

    At least one is needed; every picture keeps its proportions.
    """
    tiles = [_tile(caption, image) for caption, image in pictures]
    columns = min(COLUMNS, len(tiles))
    blank = np.full_like(tiles[0], _PAPER)
    tiles += [blank] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i:i + columns]) for i in range(0, len(tiles), columns)])


def _tile(caption: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width, height = TILE_WH
    tile = np.full((height + _CAPTION_PX, width, 3), _PAPER, dtype=np.uint8)
    scale = min(width / image.shape[1], height / image.shape[0])
    size_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    left, top = (width - size_wh[0]) // 2, height - size_wh[1]  # on its caption
    tile[top:top + size_wh[1], left:left + size_wh[0]] = small
    cv2.putText(tile, caption, (left + 4, height + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1,
                cv2.LINE_AA)
    return np.pad(tile, ((_GAP_PX, _GAP_PX), (_GAP_PX, _GAP_PX), (0, 0)), constant_values=_PAPER)
