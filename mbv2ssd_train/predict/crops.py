"""Crops of the detections, as separate pictures."""

from __future__ import annotations

from pathlib import Path
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import DataError


def save_crops(folder: Path, name: str, image_bgr: NDArray[np.uint8], detections: Detections,
               class_names: tuple[str, ...]) -> None:
    """
    Write one JPEG for each detection, NAME.NUMBER_CLASS.jpg.

    `name` may have folders, with /; boxes are in pixels, best first; the image has no boxes drawn.
    """
    for number, (box, label) in enumerate(zip(detections.boxes_xyxy, detections.labels), start=1):
        left, top = np.floor(box[:2]).astype(int)
        right, bottom = np.ceil(box[2:]).astype(int)  # every pixel that the box touches
        text = re.sub(r'[^\w-]', '_', class_names[label])
        save_image(folder / f'{name}.{number}_{text}.jpg', image_bgr[top:bottom, left:right])


def save_image(path: Path, image_bgr: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) image in the format of its suffix; DataError where OpenCV fails."""
    try:
        done, encoded = cv2.imencode(path.suffix, image_bgr)
    except cv2.error:
        done = False
    if not done:
        height, width = image_bgr.shape[:2]
        raise DataError(f'{path}: an image of {width} x {height} pixels cannot be written as '
                        f'{path.suffix}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())
