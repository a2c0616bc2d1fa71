"""Decode sensor_msgs/CompressedImage: JPEG, PNG or WebP."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.image_header import JPEG_MAGIC, stored_size_wh
from mbv2ssd_ros.core.image_message import demosaic, is_bayer, refuse_depth, to_8bit
from mbv2ssd_ros.core.jpeg_decoder import decode_any, decode_jpeg

MAX_PIXELS = 50_000_000  # 150 MB once decoded


class CompressedImageMsg(Protocol):
    """What is read of a sensor_msgs/CompressedImage."""

    format: str
    data: Any  # array.array('B') in a received message


def image_from_compressed_msg(msg: CompressedImageMsg, bits: int = 16) -> SourceImage:
    """
    Decode a sensor_msgs/CompressedImage; its bytes decide the file format.

    `format` may say, as image_transport writes it, that the file has a Bayer mosaic or channels in
    the order rgb: 'bayer_rggb8; jpeg compressed ', 'rgb8; jpeg compressed rgb8'.

    Args:
        msg: the message.
        bits: significant bits of 16-bit channels, 8 to 16.

    Raises:
        UnsupportedImageError: the data are another format, truncated, corrupt, too large or depth.
    """
    data = bytes(msg.data)
    encoding, _, compression = msg.format.partition(';')
    stored = compression.partition('compressed')[2].strip()
    try:
        refuse_depth('16UC1' if stored.startswith('Depth') else encoding)
        _check_size(data)
        if data.startswith(JPEG_MAGIC):
            pixels = decode_jpeg(data)
        else:
            pixels = to_8bit(decode_any(data, cv2.IMREAD_ANYDEPTH if bits < 16 else 0), bits)
        if is_bayer(encoding) and not stored.startswith(('bgr', 'rgb')):
            pixels = demosaic(np.ascontiguousarray(pixels[..., 0]), encoding)
        return SourceImage(pixels, 'rgb' if stored.startswith('rgb') else 'bgr')
    except UnsupportedImageError as err:
        raise UnsupportedImageError(f'compressed image ({msg.format!r}): {err}') from err


def _check_size(data: bytes) -> None:
    size_wh = stored_size_wh(data)
    if size_wh is None:
        raise UnsupportedImageError(
            f'{len(data)} bytes start with {data[:8].hex(" ")!r}, expected a JPEG, PNG or WebP '
            'file')
    width, height = size_wh
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise UnsupportedImageError(
            f'it declares {width} x {height} pixels; expected 1 to {MAX_PIXELS} in all')
