"""Decode sensor_msgs/CompressedImage: JPEG, PNG or WebP."""

from __future__ import annotations

from typing import Any, Protocol

from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.image_header import JPEG_MAGIC, stored_size_wh
from mbv2ssd_ros.core.jpeg_decoder import decode_any, decode_jpeg

MAX_PIXELS = 50_000_000  # 150 MB once decoded


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
    decode = decode_jpeg if data.startswith(JPEG_MAGIC) else decode_any
    try:
        return SourceImage(decode(data), 'bgr')
    except UnsupportedImageError as err:
        raise UnsupportedImageError(f'compressed image ({msg.format!r}): {err}') from err
