"""One annotated frame of a bag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.annotations import AnnotatedImage, in_pixels, normalised_boxes
from mbv2ssd_ros.evaluation.bags.frame_names import FrameKey


@dataclass(frozen=True)
class AnnotatedFrame:
    """The objects of one frame."""

    name: str  # in its source, for messages
    key: FrameKey
    size_hw: tuple[int, int] | None  # as annotated; None where the source has no size
    boxes_xyxy: NDArray[np.float32]  # (N, 4) 0-based corners in pixels, inside the image
    names: tuple[str, ...]  # N class names
    difficult: NDArray[np.bool_]  # (N,)


def annotated_frame(name: str, key: FrameKey, image: AnnotatedImage) -> AnnotatedFrame:
    """Take the objects of an annotated image, with the very boxes that training learns from."""
    return AnnotatedFrame(
        name, key, image.size_hw,
        in_pixels(normalised_boxes(image.objects, image.size_hw), image.size_hw),
        tuple(item.name for item in image.objects),
        np.array([item.difficult for item in image.objects], bool))
