"""Detections drawn into a picture: for debug images, annotated files and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_ros.core.image import SourceImage

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SIDE_FOR_ONE = 900.0  # shorter image side, pixels, at which the text has its natural size

Colour = tuple[int, int, int]
_TO_BGR = {
    'bgr': None,
    'rgb': cv2.COLOR_RGB2BGR,
    'rgba': cv2.COLOR_RGBA2BGR,
    'bgra': cv2.COLOR_BGRA2BGR,
    'mono': cv2.COLOR_GRAY2BGR,
}


def bgr_pixels(image: SourceImage) -> NDArray[np.uint8]:
    """Convert to (H, W, 3) uint8 BGR; the image's own pixels where they are bgr already."""
    conversion = _TO_BGR[image.channel_order]
    if conversion is None:
        return image.pixels
    return np.asarray(cv2.cvtColor(image.pixels, conversion), dtype=np.uint8)


def class_colour(name: str) -> Colour:
    """Choose a bright colour (B, G, R), the same for a name in every process and model."""
    digest = zlib.crc32(name.encode())
    hue, saturation = digest % 180, (110, 180, 255)[digest // 180 % 3]  # cv2: hue is degrees / 2
    pixel = np.array([[[hue, saturation, 255]]], dtype=np.uint8)
    blue, green, red = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def draw_detections(image_bgr: NDArray[np.uint8], boxes_xyxy_px: NDArray[np.float32],
                    scores: NDArray[np.float32], names: Sequence[str],
                    tracks: Sequence[str] = ()) -> NDArray[np.uint8]:
    """
    Draw boxes and labels such as 'cat 0.87', or 'cat #12 0.87', on a copy of an image.

    image_bgr is (H, W, 3) uint8, boxes (K, 4) are in its pixels. Lines and text grow with the
    image. The first detection is drawn last, so that the best of a sorted list is on top. `tracks`
    are ids, '' for a box without one.
    ShapeError for an image without three channels, or differing numbers of boxes, scores, names.
    """
    if not len(boxes_xyxy_px) == len(scores) == len(names):
        raise ShapeError(
            f'{len(boxes_xyxy_px)} boxes, {len(scores)} scores and {len(names)} names; '
            'expected as many of each')
    texts = map(detection_text, names, scores, tracks or [''] * len(names))
    return _draw(image_bgr, boxes_xyxy_px, list(texts), names)


def detection_text(name: str, score: float, track: str = '') -> str:
    """Describe a detection: 'cat 0.87', or 'cat #12 0.87' with the id of its track."""
    return f'{name} #{track} {score:.2f}' if track else f'{name} {score:.2f}'


def draw_boxes(image_bgr: NDArray[np.uint8], boxes_xyxy_px: NDArray[np.float32],
               names: Sequence[str]) -> NDArray[np.uint8]:
    """Draw annotated boxes and their class names on a copy; otherwise as draw_detections."""
    if len(boxes_xyxy_px) != len(names):
        raise ShapeError(f'{len(boxes_xyxy_px)} boxes and {len(names)} names; expected as many')
    return _draw(image_bgr, boxes_xyxy_px, names, names)


def _draw(image_bgr: NDArray[np.uint8], boxes_xyxy_px: NDArray[np.float32],
          texts: Sequence[str], names: Sequence[str]) -> NDArray[np.uint8]:
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8:
        raise ShapeError(
            'an image to draw on must be uint8 (height, width, 3), found '
            f'{image_bgr.dtype} {image_bgr.shape}')
    drawn = np.array(image_bgr, order='C')
    worst_first = list(zip(boxes_xyxy_px.tolist(), texts, names, strict=True))[::-1]
    for box, _, name in worst_first:
        _draw_box(drawn, box, class_colour(name))
    for box, text, name in worst_first:  # after all boxes: no line runs through a text
        _draw_label(drawn, (round(box[0]), round(box[1])), text, class_colour(name))
    return drawn


def _draw_box(image: NDArray[np.uint8], box_xyxy_px: Sequence[float], colour: Colour) -> None:
    line = max(1, round(min(image.shape[:2]) / 200))
    left, top, right, bottom = (round(edge) for edge in box_xyxy_px)
    # Edges are outer corners: a box of the whole image ends at pixel (width - 1, height - 1).
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    cv2.rectangle(image, (left, top), (right, bottom), colour, line)


def _draw_label(image: NDArray[np.uint8], corner_xy: tuple[int, int], text: str,
                colour: Colour) -> None:
    """Write text on a filled strip above the corner, always inside the image."""
    height, width = image.shape[:2]
    scale = max(0.35, min(height, width) / _SIDE_FOR_ONE)
    stroke = max(1, round(1.5 * scale))
    (text_width, ascent), descent = cv2.getTextSize(text, _FONT, scale, stroke)
    strip_width, strip_height = text_width + 2 * stroke, ascent + descent + 2 * stroke
    left = max(0, min(corner_xy[0], width - strip_width))
    top = corner_xy[1] - strip_height
    top = max(0, min(top if top >= 0 else corner_xy[1], height - strip_height))
    cv2.rectangle(image, (left, top), (left + strip_width - 1, top + strip_height - 1), colour,
                  cv2.FILLED)
    # Rec. 601 luma: dark text on a light strip, light text on a dark one
    dark = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 128
    cv2.putText(image, text, (left + stroke, top + stroke + ascent), _FONT, scale,
                (0, 0, 0) if dark else (255, 255, 255), stroke, cv2.LINE_AA)
