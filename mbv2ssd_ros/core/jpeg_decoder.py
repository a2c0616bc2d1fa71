"""
Decode JPEG images, and notice damage.

A JPEG has no checksum. Damage in the entropy-coded scan shows as too few or too many bits, about
which libjpeg-turbo warns before it returns wrong pixels. OpenCV prints these warnings on stderr;
simplejpeg, whose pixels are the same, makes them errors. What stays unnoticed is in docs/node.md.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import importlib
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import UnsupportedImageError

# The pixel grid as it is stored: an orientation in EXIF must not turn the boxes.
DECODE_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_SCAN, _END, _TABLES, _PROGRESSIVE = b'\xff\xda', b'\xff\xd9', b'\xff\xc4', b'\xff\xc2'
_LUMINANCE_AC = 0x10  # class and number of a Huffman table
_ZEROS = bytes(64)
# libjpeg-turbo's warning about bytes after the last pixel
_PADDED = re.compile(r'(\d+) extraneous bytes before marker 0xd9')


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """
    Decode a JPEG file to (H, W, 3) bgr.

    UnsupportedImageError if it is corrupt; without simplejpeg some damage is not noticed.
    """
    strict = _strict_decoder()
    if strict is None:
        return decode_any(data)
    try:
        pixels = strict(data, 'BGR')
    except ValueError as err:
        padding = _PADDED.search(str(err))
        end = data.rfind(_END)
        if padding and data[end - int(padding[1]):end] == bytes(int(padding[1])):
            # webcams fill their last packet with zeros; other warnings may hide behind this one
            return decode_jpeg(data[:end - int(padding[1])] + _END)
        raise UnsupportedImageError(f'JPEG of {len(data)} bytes is corrupt: {err}') from err
    if _has_zeros(data):
        raise UnsupportedImageError(
            f'JPEG of {len(data)} bytes is corrupt: {len(_ZEROS)} zero bytes in a row')
    return pixels


def _has_zeros(data: bytes) -> bool:
    """Whether zeros replaced a part of the scan."""
    start = data.rfind(_SCAN)
    if _ZEROS not in data[start:data.find(_END, start)].rstrip(b'\0'):
        return False
    head = data[:start]
    # Where zero bits are a coefficient, not the end of a block, no image has so many of them.
    return _PROGRESSIVE not in head and _symbol_of_zeros(head) & 0x0F != 0


def _symbol_of_zeros(head: bytes) -> int:
    """Return the symbol of luminance AC that zero bits encode: the first of the table."""
    symbol = 0x01  # in the tables of ITU-T T.81, annex K, which a JPEG may leave out
    start = head.find(_TABLES)
    while start >= 0:
        at, end = start + 4, start + 2 + int.from_bytes(head[start + 2:start + 4], 'big')
        while at + 17 < end:
            if head[at] == _LUMINANCE_AC:
                symbol = head[at + 17]
            at += 17 + sum(head[at + 1:at + 17])
        start = head.find(_TABLES, end)
    return symbol


def decode_any(data: bytes, flags: int = 0) -> NDArray[Any]:
    """
    Decode an image file by OpenCV to (H, W, 3) bgr, uint8; flags are added to OpenCV's.

    UnsupportedImageError if that fails.
    """
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), DECODE_FLAGS | flags)
    except cv2.error as err:
        raise UnsupportedImageError(f'image file cannot be decoded: {err}') from err
    if pixels is None:
        raise UnsupportedImageError(f'image file of {len(data)} bytes is corrupt')
    return np.asarray(pixels)


def notices_damage() -> bool:
    """Whether simplejpeg is installed."""
    return _strict_decoder() is not None


@functools.cache
def _strict_decoder() -> Callable[..., NDArray[np.uint8]] | None:
    try:
        decode: Callable[..., NDArray[np.uint8]] = importlib.import_module(
            'simplejpeg').decode_jpeg
    except ImportError:
        return None
    return decode
