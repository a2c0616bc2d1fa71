"""
From a source image to the network input, and boxes back into source pixels.

The one place where pixels and normalised boxes meet. Resizing is cv2's bilinear filter, in
training evaluation and on the robot alike: INTER_AREA costs 8 to 25 times as much and scored
0.7 mAP less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError, UnsupportedImageError

RESIZE_MODES = ('stretch', 'letterbox')
LETTERBOX_GREY = 128  # the mean of the normalisation: the network sees zeros
MAX_SIDE_PX = 32766  # beyond any camera; parts of cv2 index with 16 bit signed integers

# conversion of each channel order to RGB; None: it is RGB
_TO_RGB = {
    'rgb': None,
    'bgr': cv2.COLOR_BGR2RGB,
    'rgba': cv2.COLOR_RGBA2RGB,
    'bgra': cv2.COLOR_BGRA2RGB,
    'mono': cv2.COLOR_GRAY2RGB,
}
_CHANNELS = {'rgb': 3, 'bgr': 3, 'rgba': 4, 'bgra': 4, 'mono': 1}


@dataclass(frozen=True)
class SourceImage:
    """An 8-bit image as it came, usually a view of a message's bytes; never written to."""

    pixels: NDArray[np.uint8]  # (H, W) for mono, otherwise (H, W, channels)
    channel_order: str  # 'rgb', 'bgr', 'rgba', 'bgra' or 'mono'

    def __post_init__(self) -> None:
        channels = _CHANNELS.get(self.channel_order)
        if channels is None:
            raise UnsupportedImageError(
                f'channel order {self.channel_order!r} is not one of {", ".join(_CHANNELS)}')
        shape, dtype = self.pixels.shape, self.pixels.dtype
        tail = () if channels == 1 else (channels,)
        if dtype != np.uint8 or len(shape) < 2 or shape[2:] != tail:
            raise UnsupportedImageError(
                f'{self.channel_order} pixels must be uint8 (height, width'
                f'{", " + str(channels) if tail else ""}), found {dtype} {shape}')
        if not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE_PX:
            raise UnsupportedImageError(
                f'an image of {shape[1]} x {shape[0]} pixels cannot be resized; each side must '
                f'be 1 to {MAX_SIDE_PX}')

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class ImageGeometry:
    """Position of a source image in the network input, and the way back; computed once."""

    source_size_hw: tuple[int, int]
    input_size_hw: tuple[int, int]
    resize_mode: str

    def __post_init__(self) -> None:
        if self.resize_mode not in RESIZE_MODES:
            raise ConfigError(
                f'resize_mode is {self.resize_mode!r}, expected one of {", ".join(RESIZE_MODES)}')

    @cached_property
    def placed_size_hw(self) -> tuple[int, int]:
        """Size of the resized image inside the network input, pixels."""
        if self.resize_mode == 'stretch':
            return self.input_size_hw
        sides = tuple(zip(self.source_size_hw, self.input_size_hw, strict=True))
        scale = min(limit / side for side, limit in sides)
        height, width = (min(limit, max(1, round(side * scale))) for side, limit in sides)
        return height, width

    @cached_property
    def offset_hw(self) -> tuple[int, int]:
        """Top left corner of the resized image inside the network input, pixels."""
        height, width = self.placed_size_hw
        return (self.input_size_hw[0] - height) // 2, (self.input_size_hw[1] - width) // 2

    def to_source_pixels(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map normalised boxes (K, 4) of the network input to source pixels, clipped."""
        return np.array([self.to_source_box(*box) for box in boxes_xyxy.tolist()],
                        dtype=np.float32).reshape(-1, 4)

    def to_source_box(self, x1: float, y1: float, x2: float, y2: float
                      ) -> tuple[float, float, float, float]:
        """
        Map one box as to_source_pixels, not rounded to float32.

        For a few boxes, and with cold caches, numpy would take longer for each of five steps than
        this takes for all of them.
        """
        height, width = self.source_size_hw
        scale_x, scale_y, left, top = self._scale_and_offset
        return (min(max((x1 - left) / scale_x, 0.0), width),
                min(max((y1 - top) / scale_y, 0.0), height),
                min(max((x2 - left) / scale_x, 0.0), width),
                min(max((y2 - top) / scale_y, 0.0), height))

    def to_network(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (K, 4) of source pixels to the normalised network input, float32."""
        scale_x, scale_y, left, top = self._scale_and_offset
        return (boxes_xyxy * (scale_x, scale_y, scale_x, scale_y) + (left, top, left, top)
                ).astype(np.float32)

    @cached_property
    def _scale_and_offset(self) -> tuple[float, float, float, float]:
        """Scale of x and y and offset of x and y, from source pixels to the network input."""
        input_height, input_width = self.input_size_hw
        height, width = self.placed_size_hw
        top, left = self.offset_hw
        return (width / self.source_size_hw[1] / input_width,
                height / self.source_size_hw[0] / input_height,
                left / input_width, top / input_height)


def resize_into(image: SourceImage, resize_mode: str, slot: NDArray[np.uint8]) -> ImageGeometry:
    """
    Resize an image into a slot (H, W, 3) uint8 RGB, C-contiguous, of a batch.

    'stretch' fills the slot, 'letterbox' keeps the aspect ratio and pads with grey; another mode
    is a ConfigError. Returns the geometry that maps boxes back.
    """
    geometry = _geometry(image.size_hw, (slot.shape[0], slot.shape[1]), resize_mode)
    height, width = geometry.placed_size_hw
    top, left = geometry.offset_hw
    target = slot
    if (height, width) != geometry.input_size_hw:
        slot.fill(LETTERBOX_GREY)
        target = slot[top:top + height, left:left + width]
    _resize_to_rgb(image, target)
    return geometry


@lru_cache(maxsize=64)  # cameras send images of one size, one after the other
def _geometry(source_size_hw: tuple[int, int], input_size_hw: tuple[int, int], resize_mode: str
              ) -> ImageGeometry:
    return ImageGeometry(source_size_hw, input_size_hw, resize_mode)


def _resize_to_rgb(image: SourceImage, target: NDArray[np.uint8]) -> None:
    size_wh = (target.shape[1], target.shape[0])
    conversion = _TO_RGB[image.channel_order]
    pixels = image.pixels
    if image.size_hw == (1, 1):  # OpenCV 4.5.4, of ROS 2 Humble, cannot read that shape
        pixels = pixels.repeat(2, axis=1)
    # Resize first, so that only the small image is converted. Not in place: OpenCV would copy it
    # once more. cv2 returns another array where it could not write to dst.
    small = cv2.resize(
        pixels, size_wh, dst=target if conversion is None else None,
        interpolation=cv2.INTER_LINEAR)
    if conversion is not None:
        small = cv2.cvtColor(small, conversion, dst=target)
    if small is not target:
        target[...] = small
