"""Read, decode and reduce image files without trusting their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.annotations import MAX_PIXELS
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.image_header import as_stored, header_of

MAX_FILE_BYTES = 2 ** 28  # of an encoded image or an annotation file


def decode_image(encoded: bytes, source: str) -> NDArray[np.uint8]:
    """
    Decode an image of any colour type and 8 or 16 bit to (H, W, 3) uint8 BGR, as it is shown.

    JPEG, PNG, WebP, BMP, TIFF and PPM; turned as EXIF asks, which OpenCV does for some of them
    only. Raises DataError for other formats, truncated files (OpenCV would fill a JPEG with grey),
    more than MAX_PIXELS pixels, or a failed decode.
    """
    size_hw, turn = header_of(encoded, source)
    _check_pixels(size_hw, source)
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(as_stored(encoded), np.uint8),
                                   cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes at all, or more pixels than OpenCV allows
        pixels = None
    if pixels is None:
        raise DataError(f'{source}: does not decode as an image ({len(encoded)} bytes); '
                        'replace the file or remove it from the split')
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _check_pixels(size_hw: tuple[int, int], source: str) -> None:
    height, width = size_hw
    if width * height > MAX_PIXELS:
        raise DataError(f'{source}: its header has {width} x {height} pixels, '
                        f'{MAX_PIXELS // 10 ** 6} million are allowed; remove it from the split')


def read_file(path: Path) -> bytes:
    """Read a file; raises DataError where it is unreadable, not regular or too large."""
    try:
        if not path.is_file():  # nor a pipe, which would never end
            raise DataError(f'{path}: cannot be read: no such file')
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise DataError(f'{path}: has {size / 1e9:.1f} GB; {MAX_FILE_BYTES / 1e9:.1f} GB are '
                            'allowed')
        return path.read_bytes()
    except (OSError, ValueError) as err:  # ValueError: a zero byte in the name
        raise DataError(f'{path}: cannot be read: {err}') from err


def reduce_image(pixels: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """Reduce (H, W, 3) uint8 so that its longer side is longest_px at most."""
    longest = max(pixels.shape[:2])
    if longest <= longest_px:
        return pixels
    size_wh = [max(1, round(side * longest_px / longest)) for side in pixels.shape[1::-1]]
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)
