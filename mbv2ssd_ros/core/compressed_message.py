"""From sensor_msgs/CompressedImage to what the detector takes: JPEG, PNG or WebP."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.image_header import stored_size_wh

MAX_PIXELS = 50_000_000  # 150 MB once decoded
# The pixel grid as it is stored: an orientation in EXIF must not turn the boxes.
_DECODE_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class CompressedImageMsg(Protocol):
    """What is read of a sensor_msgs/CompressedImage."""

    format: str
    data: Any  # array.array('B') in a received message


def image_from_compressed_msg(msg: CompressedImageMsg) -> SourceImage:
    """
    Decode a sensor_msgs/CompressedImage to bgr; its bytes decide the format.

    UnsupportedImageError where the data are another format, truncated, corrupt or too large.
    """
    data = bytes(msg.data)
    size_wh = stored_size_wh(data)
    if size_wh is None:
        raise UnsupportedImageError(
            f'compressed image ({msg.format!r}) of {len(data)} bytes starts with '
            f'{data[:8].hex(" ")!r}; expected a JPEG, PNG or WebP file')
    width, height = size_wh
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise UnsupportedImageError(
            f'compressed image ({msg.format!r}) declares {width} x {height} pixels; expected 1 to '
            f'{MAX_PIXELS} in all')
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), _DECODE_FLAGS)
    except cv2.error as err:
        raise UnsupportedImageError(
            f'compressed image ({msg.format!r}) cannot be decoded: {err}') from err
    if pixels is None:
        raise UnsupportedImageError(
            f'compressed image ({msg.format!r}) of {len(data)} bytes is corrupt')
    return SourceImage(pixels, 'bgr')
