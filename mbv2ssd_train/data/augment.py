"""
SSD's augmentation (arXiv:1512.02325, section 2.2) in one resize.

Expanding, cropping and mirroring only move a window over the source image: a window larger than
the image zooms out, a smaller one crops. Pixels are touched once, when the window is resized
into the batch. Boxes are clipped and filtered after every step that can cut them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import clip_boxes, iou_matrix
from mbv2ssd_ros.core.image import ImageGeometry, LETTERBOX_GREY
from mbv2ssd_train.config import AugmentConfig

_CROP_TRIALS = 50  # as in SSD; drawn at once, the first that fits is taken
_LUMA = np.array([0.114, 0.587, 0.299], dtype=np.float32)  # of BGR


@dataclass(frozen=True)
class Objects:
    """The annotated objects of one training image."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4) normalised to the image they belong to
    labels: NDArray[np.intp]  # (N,) 1-based
    difficult: NDArray[np.bool_]  # (N,)

    def take(self, kept: NDArray[np.bool_], boxes_xyxy: NDArray[np.float32]) -> Objects:
        """Return the kept objects with new boxes."""
        return Objects(boxes_xyxy[kept], self.labels[kept], self.difficult[kept])


@dataclass(frozen=True)
class Window:
    """What of the source image the network sees, in units of the source's sides."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0

    def inside(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return boxes of the source as boxes of the window, unclipped."""
        origin = np.array([self.left, self.top] * 2, dtype=np.float32)
        return (boxes_xyxy - origin) / np.array([self.width, self.height] * 2, dtype=np.float32)

    def part(self, inner: Window) -> Window:
        """Return a window that is given in units of this one."""
        return Window(self.left + inner.left * self.width, self.top + inner.top * self.height,
                      inner.width * self.width, inner.height * self.height)


def whole_image(geometry: ImageGeometry) -> Window:
    """
    Show everything, and the padding where the aspect ratio is kept.

    Args:
        geometry: of the image in the slot.

    Returns:
        The window.
    """
    (height, width), (top, left) = geometry.placed_size_hw, geometry.offset_hw
    slot_height, slot_width = geometry.input_size_hw
    return Window(-left / width, -top / height, slot_width / width, slot_height / height)


def augment(pixels: NDArray[np.uint8], objects: Objects, slot: NDArray[np.uint8],
            config: AugmentConfig, rng: np.random.Generator, resize_mode: str = 'stretch'
            ) -> Objects:
    """
    Make one training image.

    Args:
        pixels: (H, W, 3) uint8 BGR source; not changed.
        objects: boxes normalised to the source.
        slot: (h, w, 3) uint8, C-contiguous, part of the batch; overwritten with RGB.
        config: which steps, how strong.
        rng: of this image alone, so that the result does not depend on what ran before.
        resize_mode: of the model; without any step the image is as the run time makes it.

    Returns:
        The objects that are left, boxes normalised to the slot.
    """
    window = whole_image(ImageGeometry(
        (pixels.shape[0], pixels.shape[1]), (slot.shape[0], slot.shape[1]), resize_mode))
    if rng.random() < config.expand:
        window = window.part(random_expansion(config.expand_max, rng))
    visible = replace(objects, boxes_xyxy=clip_boxes(window.inside(objects.boxes_xyxy)))
    if rng.random() < config.crop:
        crop = random_crop(visible, config, rng)
        visible, window = cut(visible, crop), window.part(crop)
    visible = drop_small(visible, (slot.shape[1], slot.shape[0]), config.min_box_px)
    render(pixels, window, slot)
    if rng.random() < config.flip:
        slot[...] = slot[:, ::-1].copy()
        visible = flip(visible)
    change_colours(slot, config, rng)
    cv2.cvtColor(slot, cv2.COLOR_BGR2RGB, dst=slot)
    return visible


def random_expansion(largest: float, rng: np.random.Generator) -> Window:
    """
    Draw a canvas larger than the image, the image anywhere on it.

    Args:
        largest: side of the canvas, in image sides.
        rng: randomness.

    Returns:
        The canvas as a window of the image.
    """
    side = rng.uniform(1.0, largest)
    left, top = rng.uniform(0.0, side - 1.0, 2)
    return Window(-left, -top, side, side)


def random_crop(objects: Objects, config: AugmentConfig, rng: np.random.Generator) -> Window:
    """
    Draw a crop that still shows an object well enough.

    Args:
        objects: boxes normalised to what is cropped.
        config: smallest side, IoU constraints.
        rng: randomness.

    Returns:
        The first of 50 crops whose aspect ratio is 0.5 to 2, whose IoU with an object reaches
        the constraint drawn, and which holds the centre of an object; the whole image where
        none does.
    """
    least_iou = rng.choice(config.crop_ious)
    size = rng.uniform(config.crop_min_scale, 1.0, (_CROP_TRIALS, 2)).astype(np.float32)
    origin = rng.uniform(0.0, 1.0, (_CROP_TRIALS, 2)).astype(np.float32) * (1 - size)
    fits = (size[:, 0] <= 2 * size[:, 1]) & (size[:, 1] <= 2 * size[:, 0])
    if len(objects.labels):
        crops = np.concatenate([origin, origin + size], axis=1)  # (50, 4)
        centres = (objects.boxes_xyxy[:, :2] + objects.boxes_xyxy[:, 2:]) / 2
        fits &= _holds(crops[:, None], centres[None]).any(axis=1)
        fits &= iou_matrix(crops, objects.boxes_xyxy).max(axis=1) >= least_iou
    if not fits.any():
        return Window()
    first = int(fits.argmax())
    return Window(*origin[first].tolist(), *size[first].tolist())


def cut(objects: Objects, window: Window) -> Objects:
    """
    Keep the objects whose centre lies in the window, clipped at its border.

    Args:
        objects: boxes in the units of the window's surroundings.
        window: to cut out.

    Returns:
        Objects with boxes normalised to the window.
    """
    boxes = window.inside(objects.boxes_xyxy)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    kept = _holds(np.array([0, 0, 1, 1], dtype=np.float32), centres)
    return objects.take(kept, clip_boxes(boxes))


def drop_small(objects: Objects, size_wh: tuple[int, int], min_px: float) -> Objects:
    """
    Take out boxes too small to be learnt.

    Args:
        objects: boxes normalised to the network input.
        size_wh: of the network input, pixels.
        min_px: least width and height.

    Returns:
        The objects that are left.
    """
    sides = (objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2]) * np.array(size_wh)
    return objects.take((sides >= min_px).all(axis=1) & (sides > 0).all(axis=1),
                        objects.boxes_xyxy)


def flip(objects: Objects) -> Objects:
    """Mirror boxes left to right."""
    boxes = objects.boxes_xyxy
    return replace(objects, boxes_xyxy=np.stack(
        [1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1))


def render(pixels: NDArray[np.uint8], window: Window, slot: NDArray[np.uint8]) -> None:
    """
    Resize a window of an image into a slot of the batch, grey where the window sticks out.

    Args:
        pixels: (H, W, 3) uint8 source.
        window: in units of the source's sides.
        slot: (h, w, 3) uint8; overwritten.
    """
    source_hw, slot_hw = np.array(pixels.shape[:2]), np.array(slot.shape[:2])
    start = np.array([window.top, window.left])
    side = np.array([window.height, window.width])
    first = np.clip(np.round(start * source_hw), 0, source_hw - 1).astype(int)
    last = np.clip(np.round((start + side) * source_hw), first + 1, source_hw).astype(int)
    # where these whole pixels of the source lie in the slot: off by half a pixel of the larger
    to = np.clip(np.round((first / source_hw - start) / side * slot_hw), 0, slot_hw - 1)
    end = np.clip(np.round((last / source_hw - start) / side * slot_hw), to + 1, slot_hw)
    (top, left), (bottom, right) = to.astype(int), end.astype(int)
    if (bottom - top, right - left) != tuple(slot_hw):
        slot.fill(LETTERBOX_GREY)
    cv2.resize(pixels[first[0]:last[0], first[1]:last[1]], (right - left, bottom - top),
               dst=slot[top:bottom, left:right], interpolation=cv2.INTER_LINEAR)


def change_colours(image: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator
                   ) -> None:
    """
    Change brightness, contrast, saturation and hue, each by chance, in one pass.

    All four are linear in the colour, so they multiply into one 3 x 4 matrix.

    Args:
        image: (h, w, 3) uint8 BGR; overwritten.
        config: strengths and chance.
        rng: randomness.
    """
    strengths = np.array([config.brightness, config.contrast, config.saturation,
                          config.hue_degrees])
    amounts = rng.uniform(-1, 1, 4) * strengths * (rng.random(4) < config.photometric)
    if not amounts.any():
        return
    brightness, contrast, saturation, hue = amounts
    colours = _saturation_matrix(1 + saturation) @ _hue_matrix(hue) * (1 + contrast)
    shift = np.full((3, 1), 255 * brightness)
    cv2.transform(image, np.hstack([colours, shift]).astype(np.float32), dst=image)


def _saturation_matrix(factor: float) -> NDArray[np.float64]:
    return factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1))


def _hue_matrix(degrees: float) -> NDArray[np.float64]:
    """Turn colours about the grey axis (Rodrigues' formula)."""
    angle, axis = np.deg2rad(degrees), np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (np.cos(angle) * np.eye(3) + np.sin(angle) * cross
            + (1 - np.cos(angle)) * np.outer(axis, axis))


def _holds(boxes_xyxy: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (
        (points > boxes_xyxy[..., :2]) & (points < boxes_xyxy[..., 2:])).all(axis=-1)
    return inside
