"""
SSD's augmentation (arXiv:1512.02325, section 2.2) in one resize, drawn for many images at once.

Expanding, cropping and mirroring only move a window over the source image: a window larger than
the image zooms out, a smaller one crops. Boxes are clipped and filtered after every step that can
cut them. render.py (OpenCV) or device.py then resizes the window, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import clip_boxes
from mbv2ssd_ros.core.image import ImageGeometry
from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment.colours import colour_changes
from mbv2ssd_train.data.dataset import ImageRecord

_TRIALS = 50  # crops, as in SSD; drawn at once, the first that fits wins
# columns of an image's draws
_EXPAND, _SIDE, _LEFT, _TOP, _CROP, _LEAST_IOU, _FLIP = range(7)
_AMOUNTS, _CHANCES = slice(7, 11), slice(11, 15)  # brightness, contrast, saturation, hue
_CROP_SIZES = slice(15, 15 + 2 * _TRIALS)
_CROP_ORIGINS = slice(_CROP_SIZES.stop, _CROP_SIZES.stop + 2 * _TRIALS)
DRAWS = _CROP_ORIGINS.stop  # random numbers for each image
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])  # left, top, width and height of a window

Windows = NDArray[np.float64]  # (B, 4): left, top, width, height in units of the source's sides


@dataclass(frozen=True)
class Objects:
    """The annotated objects of some images, padded to the largest number of them."""

    boxes_xyxy: NDArray[np.float32]  # (B, N, 4) normalised; zeros where there is no object
    labels: NDArray[np.int64]  # (B, N) 1-based, 0 where there is no object
    difficult: NDArray[np.bool_]  # (B, N)

    def only(self, kept: NDArray[np.bool_]) -> Objects:
        """Return the kept objects in their order, without gaps."""
        kept = kept & (self.labels > 0)
        most = int(kept.sum(axis=1).max(initial=0))
        order = np.argsort(~kept, axis=1, kind='stable')[:, :most]  # the kept ones first
        kept = np.take_along_axis(kept, order, axis=1)
        boxes = np.take_along_axis(self.boxes_xyxy, order[..., None], axis=1)
        labels = np.take_along_axis(self.labels, order, axis=1)
        difficult = np.take_along_axis(self.difficult, order, axis=1)
        return Objects(boxes * kept[..., None], labels * kept, difficult & kept)


@dataclass(frozen=True)
class Views:
    """What the network sees of some source images."""

    windows: Windows
    mirrored: NDArray[np.bool_]  # (B,) left to right
    colours: NDArray[np.float32]  # (B, 3, 4) from RGB and 1 to RGB, of 0 to 255


def objects_of(records: Sequence[ImageRecord]) -> Objects:
    """Collect the objects of at least one image, boxes normalised to the sources."""
    shape = (len(records), max(len(record.labels) for record in records))
    boxes = np.zeros((*shape, 4), dtype=np.float32)
    labels, difficult = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    for row, record in enumerate(records):
        count = len(record.labels)
        boxes[row, :count] = record.boxes_xyxy
        labels[row, :count] = record.labels
        difficult[row, :count] = record.difficult
    return Objects(boxes, labels, difficult)


def draw_views(objects: Objects, sizes_hw: Sequence[tuple[int, int]],
               input_size_hw: tuple[int, int], config: AugmentConfig, draws: NDArray[np.float64],
               resize_mode: str = 'stretch') -> tuple[Views, Objects]:
    """
    Decide what the network sees, and which objects remain, normalised to the network input.

    Input boxes are normalised to the sources; draws are (B, DRAWS) in [0, 1). Without any step the
    images are as the run time resizes them.
    """
    windows = whole_images(sizes_hw, input_size_hw, resize_mode)
    expanded = draws[:, _EXPAND] < config.expand
    windows = part_of(windows, np.where(expanded[:, None], expansions(config, draws), WHOLE))
    seen = Objects(clip_boxes(inside(windows, objects.boxes_xyxy)), objects.labels,
                   objects.difficult)
    cropped = draws[:, _CROP] < config.crop
    crops = np.tile(WHOLE, (len(draws), 1))
    crops[cropped] = crops_of(seen.boxes_xyxy[cropped], seen.labels[cropped] > 0, config,
                              draws[cropped])
    boxes, kept = cut(crops, seen.boxes_xyxy)
    boxes = np.where(cropped[:, None, None], boxes, seen.boxes_xyxy)
    kept = (kept | ~cropped[:, None]) & large_enough(boxes, input_size_hw, config.min_box_px)
    mirrored = draws[:, _FLIP] < config.flip
    boxes = np.where(mirrored[:, None, None], mirror(boxes), boxes)
    colours = colour_changes(config, draws[:, _AMOUNTS], draws[:, _CHANCES])
    views = Views(part_of(windows, crops), mirrored, colours)
    return views, Objects(boxes, seen.labels, seen.difficult).only(kept)


def whole_images(sizes_hw: Sequence[tuple[int, int]], input_size_hw: tuple[int, int],
                 resize_mode: str) -> Windows:
    """Return windows of the whole images, with padding where the aspect ratio is kept."""
    if resize_mode == 'stretch':
        return np.tile(WHOLE, (len(sizes_hw), 1))
    geometries = [ImageGeometry(size_hw, input_size_hw, resize_mode) for size_hw in sizes_hw]
    placed = np.array([g.placed_size_hw[::-1] for g in geometries], dtype=np.float64)
    offset = np.array([g.offset_hw[::-1] for g in geometries])
    return np.hstack([-offset / placed, np.array(input_size_hw[::-1]) / placed])


def expansions(config: AugmentConfig, draws: NDArray[np.float64]) -> Windows:
    """Draw larger canvases with the images at random places, as windows of the images."""
    side = 1 + draws[:, _SIDE] * (config.expand_max - 1)
    room = side - 1
    return np.stack([-draws[:, _LEFT] * room, -draws[:, _TOP] * room, side, side], axis=1)


def crops_of(boxes_xyxy: NDArray[np.float32], real: NDArray[np.bool_], config: AugmentConfig,
             draws: NDArray[np.float64]) -> Windows:
    """
    Draw for each image the first of 50 crops that still shows an object well enough.

    Its aspect ratio is 0.5 to 2, its IoU with an object reaches the drawn constraint, and it holds
    the centre of an object; the whole image where none does. Without objects only the ratio
    counts. boxes_xyxy (B, N, 4) are normalised to what is cropped; real (B, N) marks objects.
    """
    ious = np.array(config.crop_ious, dtype=np.float32)
    least_iou = ious[(draws[:, _LEAST_IOU] * len(ious)).astype(int)]
    smallest = config.crop_min_scale
    pairs = (len(draws), _TRIALS, 2)
    size = smallest + draws[:, _CROP_SIZES].reshape(pairs) * (1 - smallest)
    origin = draws[:, _CROP_ORIGINS].reshape(pairs) * (1 - size)
    trials = np.concatenate([origin, size], axis=2)  # (B, 50, 4)
    fits = (size[..., 0] <= 2 * size[..., 1]) & (size[..., 1] <= 2 * size[..., 0])
    some = np.flatnonzero(real.any(axis=1))
    fits[some] &= _shows_an_object(trials[some], boxes_xyxy[some], real[some], least_iou[some])
    first = fits.argmax(axis=1)
    rows = np.arange(len(draws))
    return np.where(fits[rows, first][:, None], trials[rows, first], WHOLE)


def _shows_an_object(trials: NDArray[np.float64], boxes_xyxy: NDArray[np.float32],
                     real: NDArray[np.bool_], least_iou: NDArray[np.float32]
                     ) -> NDArray[np.bool_]:
    """Test which crops (B, 50) hold a centre and overlap enough; every image has objects."""
    if not len(trials):
        return np.zeros(trials.shape[:2], dtype=bool)
    # objects of all images in one list: padding would be most of the work
    image, _ = np.nonzero(real)
    x1, y1, x2, y2 = boxes_xyxy[real].T[..., None]  # (objects, 1)
    left, top, width, height = np.moveaxis(trials.astype(np.float32)[image], -1, 0)
    right, bottom = left + width, top + height
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    holds = (left < centre_x) & (centre_x < right) & (top < centre_y) & (centre_y < bottom)
    shared = (np.maximum(np.minimum(right, x2) - np.maximum(left, x1), 0)
              * np.maximum(np.minimum(bottom, y2) - np.maximum(top, y1), 0))
    union = width * height + (x2 - x1) * (y2 - y1) - shared  # above 0: a crop has an area
    overlaps = shared >= least_iou[image, None] * union
    first = np.flatnonzero(np.diff(image, prepend=-1))  # object of each image
    shows: NDArray[np.bool_] = (np.logical_or.reduceat(holds, first)
                                & np.logical_or.reduceat(overlaps, first))
    return shows


def cut(windows: Windows, boxes_xyxy: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """
    Clip boxes (B, N, 4) to the windows; return them normalised, and which centres are inside.

    Windows and boxes share one unit; the mask is (B, N).
    """
    boxes = inside(windows, boxes_xyxy)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    kept = ((centres > 0) & (centres < 1)).all(axis=-1)
    return clip_boxes(boxes), kept


def large_enough(boxes_xyxy: NDArray[np.float32], input_size_hw: tuple[int, int], min_px: float
                 ) -> NDArray[np.bool_]:
    """Return (B, N) whether both sides of normalised boxes reach min_px input pixels."""
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    enough: NDArray[np.bool_] = (
        (sides * np.array(input_size_hw[::-1]) >= min_px) & (sides > 0)).all(axis=-1)
    return enough


def mirror(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mirror boxes (..., 4) left to right."""
    return np.stack([1 - boxes_xyxy[..., 2], boxes_xyxy[..., 1],
                     1 - boxes_xyxy[..., 0], boxes_xyxy[..., 3]], axis=-1)


def inside(windows: Windows, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert boxes (B, N, 4) of the sources to boxes of the windows, unclipped."""
    origin, size = windows[:, None, [0, 1, 0, 1]], windows[:, None, [2, 3, 2, 3]]
    return ((boxes_xyxy - origin) / size).astype(np.float32)


def part_of(windows: Windows, inner: Windows) -> Windows:
    """Convert windows in units of other windows to units of the sources."""
    size = windows[:, 2:]
    return np.hstack([windows[:, :2] + inner[:, :2] * size, inner[:, 2:] * size])
