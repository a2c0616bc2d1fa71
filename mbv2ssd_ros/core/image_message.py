"""
Convert sensor_msgs/Image for the detector: a view of the message's bytes where possible.

Colour planes that OpenCV can only convert as a whole (Bayer, YUV) cost one cv2.cvtColor; 8-bit
colour and grey cost nothing. `step` and `is_bigendian` are honoured, and nothing is read before
the sizes have been checked against the number of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import importlib
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.image import MAX_SIDE_PX, SourceImage

# encoding: channel order, channels, bytes of a channel. The generic names take OpenCV's order.
_PLAIN = {
    'rgb8': ('rgb', 3, 1), 'bgr8': ('bgr', 3, 1), 'rgba8': ('rgba', 4, 1), 'bgra8': ('bgra', 4, 1),
    'mono8': ('mono', 1, 1), '8UC1': ('mono', 1, 1), '8UC3': ('bgr', 3, 1),
    '8UC4': ('bgra', 4, 1),
    'rgb16': ('rgb', 3, 2), 'bgr16': ('bgr', 3, 2), 'rgba16': ('rgba', 4, 2),
    'bgra16': ('bgra', 4, 2), 'mono16': ('mono', 1, 2), '16UC3': ('bgr', 3, 2),
    '16UC4': ('bgra', 4, 2),
}
DEPTH = ('16UC1', '32FC1')  # of REP 118: millimetres and metres
# OpenCV names a Bayer pattern after the second row and column, ROS after the first.
_BAYER = {
    'bayer_rggb8': (cv2.COLOR_BayerBG2BGR, 1), 'bayer_bggr8': (cv2.COLOR_BayerRG2BGR, 1),
    'bayer_gbrg8': (cv2.COLOR_BayerGR2BGR, 1), 'bayer_grbg8': (cv2.COLOR_BayerGB2BGR, 1),
    'bayer_rggb16': (cv2.COLOR_BayerBG2BGR, 2), 'bayer_bggr16': (cv2.COLOR_BayerRG2BGR, 2),
    'bayer_gbrg16': (cv2.COLOR_BayerGR2BGR, 2), 'bayer_grbg16': (cv2.COLOR_BayerGB2BGR, 2),
}
_YUV422 = {
    'uyvy': cv2.COLOR_YUV2BGR_UYVY, 'yuv422': cv2.COLOR_YUV2BGR_UYVY,
    'yuyv': cv2.COLOR_YUV2BGR_YUY2, 'yuv422_yuy2': cv2.COLOR_YUV2BGR_YUY2,
}
_YUV420 = {'nv12': cv2.COLOR_YUV2BGR_NV12, 'nv21': cv2.COLOR_YUV2BGR_NV21}
ENCODINGS = (*_PLAIN, *_BAYER, *_YUV422, *_YUV420)


class ImageMsg(Protocol):
    """What is read of a sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any  # array.array('B') in a received message


def image_from_msg(msg: ImageMsg, bits: int = 16) -> SourceImage:
    """
    Convert an image message to an 8-bit source image, which may share its memory.

    Encodings that are not in ENCODINGS use cv_bridge where it is installed.

    Args:
        msg: the message.
        bits: significant bits of 16-bit channels, 8 to 16; 2 ** bits - 1 is white.

    Raises:
        UnsupportedImageError: encoding, size, step and data do not make an image, or it is a depth
            image.
    """
    encoding = msg.encoding
    refuse_depth(encoding)
    if encoding in _PLAIN:
        order, channels, item_bytes = _PLAIN[encoding]
        pixels = _view(msg, msg.height, channels, item_bytes)
        return SourceImage(pixels if item_bytes == 1 else to_8bit(pixels, bits), order)
    if encoding in _BAYER:
        _require(msg, min(msg.height, msg.width) >= 3, 'at least 3 x 3 pixels')
        mosaic = _view(msg, msg.height, 1, _BAYER[encoding][1])
        return SourceImage(to_8bit(demosaic(mosaic, encoding), bits), 'bgr')
    if encoding in _YUV422:
        _require(msg, msg.width % 2 == 0, 'an even width')
        return SourceImage(_convert(_view(msg, msg.height, 2, 1), _YUV422[encoding]), 'bgr')
    if encoding in _YUV420:
        _require(msg, msg.width % 2 == 0 and msg.height % 2 == 0, 'an even width and height')
        # the luma rows, then half as many rows of chroma pairs
        planes = _view(msg, msg.height * 3 // 2, 1, 1)
        return SourceImage(_convert(planes, _YUV420[encoding]), 'bgr')
    return _image_by_cv_bridge(msg)


def _view(msg: ImageMsg, rows: int, channels: int, item_bytes: int) -> NDArray[Any]:
    """View a message as (rows, width[, channels]) uint8, or uint16 copied if in foreign layout."""
    height, width, step, data = msg.height, msg.width, msg.step, msg.data
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise UnsupportedImageError(
            f'{msg.encoding} image of {width} x {height} pixels; each side must be 1 to '
            f'{MAX_SIDE_PX}')
    pixel_bytes = channels * item_bytes
    row_bytes = width * pixel_bytes
    if step < row_bytes:
        raise UnsupportedImageError(
            f'{msg.encoding} image {width} pixels wide has a step of {step} bytes, a row needs '
            f'{row_bytes}')
    needed = (rows - 1) * step + row_bytes  # the last row may come without its padding
    if len(data) < needed:
        raise UnsupportedImageError(
            f'{msg.encoding} image of {width} x {height} pixels with a step of {step} has '
            f'{len(data)} bytes, needs {needed}')
    shape: tuple[int, ...] = (rows, width)
    strides: tuple[int, ...] = (step, pixel_bytes)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, item_bytes)
    if item_bytes == 1:
        return np.ndarray(shape, np.uint8, data, 0, strides)
    dtype = np.dtype('>u2' if msg.is_bigendian else '<u2')
    pixels: NDArray[Any] = np.ndarray(shape, dtype, data, 0, strides)
    if dtype.isnative and step % item_bytes == 0:  # cv2 wants rows at whole items
        return pixels
    return pixels.astype(dtype.newbyteorder('='))


def refuse_depth(encoding: str) -> None:
    """Raise UnsupportedImageError for an encoding of depth images."""
    if encoding in DEPTH:
        raise UnsupportedImageError(
            f'encoding {encoding!r} is a depth image, expected colour or grey. A grey camera with '
            '16 bits must publish mono16')


def to_8bit(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scale 16-bit channels with so many significant bits; 8-bit ones stay as they are."""
    if pixels.dtype == np.uint8:
        return pixels
    if bits == 16:  # 65535 = 257 * 255: the integer division is the exact 255 / 65535, cut
        return (pixels // 257).astype(np.uint8)
    return np.minimum(pixels >> (bits - 8), 255).astype(np.uint8)


def is_bayer(encoding: str) -> bool:
    """Whether an encoding is a Bayer mosaic."""
    return encoding in _BAYER


def demosaic(mosaic: NDArray[Any], encoding: str) -> NDArray[Any]:
    """Convert a Bayer mosaic (H, W) to (H, W, 3) bgr."""
    return _convert(mosaic, _BAYER[encoding][0])


def _convert(pixels: NDArray[Any], code: int) -> NDArray[Any]:
    try:
        return cv2.cvtColor(pixels, code)
    except cv2.error as err:
        raise UnsupportedImageError(
            f'OpenCV cannot convert an image of shape {pixels.shape}: {err}') from err


def _require(msg: ImageMsg, condition: bool, expected: str) -> None:
    if not condition:
        raise UnsupportedImageError(
            f'{msg.encoding} image of {msg.width} x {msg.height} pixels; this encoding needs '
            f'{expected}')


def _image_by_cv_bridge(msg: ImageMsg) -> SourceImage:
    convert = _cv_bridge()
    if convert is None:
        raise UnsupportedImageError(
            f'encoding {msg.encoding!r} is not one of {", ".join(ENCODINGS)}; install cv_bridge '
            'or let the camera driver publish one of these')
    try:
        return SourceImage(convert(msg, 'bgr8'), 'bgr')
    except Exception as err:  # cv_bridge raises its own errors, cv2's, TypeError and others
        raise UnsupportedImageError(
            f'encoding {msg.encoding!r}: cv_bridge cannot convert it to bgr8: {err}') from err


@functools.cache
def _cv_bridge() -> Callable[..., NDArray[np.uint8]] | None:
    """Look for cv_bridge, once; None where it is not installed."""
    try:
        bridge: Any = importlib.import_module('cv_bridge').CvBridge()
    except ImportError:
        return None
    convert: Callable[..., NDArray[np.uint8]] = bridge.imgmsg_to_cv2
    return convert
