"""Render views of images into a batch with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.image import LETTERBOX_GREY
from mbv2ssd_train.data.augment.geometry import Views, Windows

_UNCHANGED = np.hstack([np.eye(3), np.zeros((3, 1))]).astype(np.float32)


def render(images: Sequence[NDArray[np.uint8]], views: Views, slots: NDArray[np.uint8]) -> None:
    """
    Resize windows of images into the slots of a batch, grey outside the image.

    Images are (H, W, 3) uint8 BGR; slots (B, h, w, 3), C-contiguous, are overwritten with RGB.
    """
    sources, targets = _pixels_of(views.windows, images, slots.shape[1:3])
    for row, (image, slot) in enumerate(zip(images, slots, strict=True)):
        (y1, x1), (y2, x2) = sources[row]
        (top, left), (bottom, right) = targets[row]
        if (bottom - top, right - left) != slot.shape[:2]:
            slot.fill(LETTERBOX_GREY)
        cv2.resize(image[y1:y2, x1:x2], (right - left, bottom - top),
                   dst=slot[top:bottom, left:right], interpolation=cv2.INTER_LINEAR)
        if views.mirrored[row]:
            cv2.flip(slot, 1, dst=slot)
        _change_colours(slot, views.colours[row])


def _change_colours(slot: NDArray[np.uint8], colours: NDArray[np.float32]) -> None:
    """Convert BGR to RGB with changed colours, in place."""
    if np.array_equal(colours, _UNCHANGED):
        cv2.cvtColor(slot, cv2.COLOR_BGR2RGB, dst=slot)
    else:
        cv2.transform(slot, colours[:, [2, 1, 0, 3]], dst=slot)


def _pixels_of(windows: Windows, images: Sequence[NDArray[np.uint8]], slot_hw: tuple[int, ...]
               ) -> tuple[list, list]:
    """Round windows to whole pixels: top left and bottom right in the sources and the slots."""
    source_hw = np.array([image.shape[:2] for image in images])
    start, side = windows[:, [1, 0]], windows[:, [3, 2]]
    first = np.clip(np.round(start * source_hw), 0, source_hw - 1)
    last = np.clip(np.round((start + side) * source_hw), first + 1, source_hw)
    # place of these whole source pixels in the slot: off by half a pixel of the larger
    slot = np.array(slot_hw)
    to = np.clip(np.round((first / source_hw - start) / side * slot), 0, slot - 1)
    end = np.clip(np.round((last / source_hw - start) / side * slot), to + 1, slot)
    return (np.stack([first, last], axis=1).astype(int).tolist(),
            np.stack([to, end], axis=1).astype(int).tolist())
