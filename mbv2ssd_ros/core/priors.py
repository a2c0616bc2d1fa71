"""
Prior boxes: the only place where they are made.

Training imports them, the export bakes them into the model, the run time never sees them. They
are laid out level by level, row by row, cell by cell, shape by shape, which is the order in
which a head's (A * 4, H, W) output is flattened after moving channels last.

SSD (arXiv:1512.02325) section 2.2; SSDLite as in MobileNetV2 (arXiv:1801.04381) section 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError

Shape = tuple[float, float]


@dataclass(frozen=True)
class PriorLevel:
    """The prior boxes of one feature map: the same shapes at every cell centre."""

    feature_size_hw: tuple[int, int]
    shapes_wh: tuple[Shape, ...]  # in units of the image side

    def __post_init__(self) -> None:
        if min(self.feature_size_hw) < 1:
            raise ConfigError(
                f'a feature map of {self.feature_size_hw} cells has no place for prior boxes; '
                'choose a larger input size or fewer levels')
        if not self.shapes_wh or min(min(shape) for shape in self.shapes_wh) <= 0:
            raise ConfigError(
                f'prior shapes must be one or more positive (width, height), '
                f'found {self.shapes_wh}')

    @property
    def count(self) -> int:
        """Priors of this level: cells times shapes."""
        height, width = self.feature_size_hw
        return height * width * len(self.shapes_wh)


def level_priors(level: PriorLevel) -> NDArray[np.float32]:
    """
    Place the shapes of one level at the centre of every cell.

    Args:
        level: feature map and shapes.

    Returns:
        (H * W * A, 4) float32 cxcywh; x runs over the columns, y over the rows. Boxes at the
        border may reach outside [0, 1].
    """
    height, width = level.feature_size_hw
    shapes = np.asarray(level.shapes_wh, dtype=np.float64)  # (A, 2)
    boxes = np.empty((height, width, len(shapes), 4))
    boxes[..., 0] = ((np.arange(width) + 0.5) / width)[None, :, None]
    boxes[..., 1] = ((np.arange(height) + 0.5) / height)[:, None, None]
    boxes[..., 2:] = shapes
    return boxes.reshape(-1, 4).astype(np.float32)


def build_priors(levels: Sequence[PriorLevel]) -> NDArray[np.float32]:
    """
    All priors of a model, level after level.

    Args:
        levels: from the finest map to the coarsest.

    Returns:
        (P, 4) float32 cxcywh.
    """
    return np.concatenate([level_priors(level) for level in levels])


def linear_scales(smallest: float, largest: float, count: int) -> tuple[float, ...]:
    """
    Evenly spaced box scales, one a level (SSD, eq. 4).

    Args:
        smallest: scale of the first level, as a share of the image side.
        largest: scale of the last level.
        count: number of levels, at least 1.

    Returns:
        `count` scales in ascending order.

    Raises:
        ConfigError: the scales do not ascend from above 0, or there is no level.
    """
    if not 0 < smallest <= largest:
        raise ConfigError(
            f'prior scales must satisfy 0 < smallest <= largest, found {smallest} and {largest}')
    if count < 1:
        raise ConfigError(f'prior scales are for at least one level, found {count}')
    if count == 1:
        return (smallest,)
    step = (largest - smallest) / (count - 1)
    return tuple(smallest + step * level for level in range(count))


def ssd_shapes(scale: float, next_scale: float, aspect_ratios: Sequence[float]
               ) -> tuple[Shape, ...]:
    """
    The shapes of SSD: two squares, and each aspect ratio lying and standing.

    Args:
        scale: of this level, as a share of the image side.
        next_scale: of the next level; the second square has the geometric mean of both.
        aspect_ratios: above 1, width over height; each also gives its reciprocal.

    Returns:
        2 + 2 * len(aspect_ratios) (width, height).

    Raises:
        ConfigError: a scale or a ratio is not positive.
    """
    _require_positive('scales', (scale, next_scale))
    _require_positive('aspect ratios', aspect_ratios)
    between = sqrt(scale * next_scale)
    shapes = [(scale, scale), (between, between)]
    for ratio in aspect_ratios:
        long, short = scale * sqrt(ratio), scale / sqrt(ratio)
        shapes += [(long, short), (short, long)]
    return tuple(shapes)


def grid_shapes(scales: Sequence[float], aspect_ratios: Sequence[float]) -> tuple[Shape, ...]:
    """
    Every scale with every aspect ratio.

    Args:
        scales: as a share of the image side.
        aspect_ratios: width over height.

    Returns:
        len(scales) * len(aspect_ratios) (width, height).

    Raises:
        ConfigError: a scale or a ratio is not positive.
    """
    _require_positive('scales', scales)
    _require_positive('aspect ratios', aspect_ratios)
    return tuple((s * sqrt(ratio), s / sqrt(ratio)) for s in scales for ratio in aspect_ratios)


def _require_positive(name: str, values: Sequence[float]) -> None:
    if not all(value > 0 for value in values):
        raise ConfigError(f'prior {name} must be positive, found {tuple(values)}')


def feature_sizes(input_size_hw: tuple[int, int], first_stride: int, levels: int
                  ) -> tuple[tuple[int, int], ...]:
    """
    Sizes of the feature maps of a network that halves, rounding up, at every stride-2 step.

    Args:
        input_size_hw: of the network input, pixels.
        first_stride: of the first map, a power of two.
        levels: number of maps, each half as large as the one before.

    Returns:
        (height, width) of every map.

    Raises:
        ConfigError: the first stride is not a power of two.
    """
    halvings = first_stride.bit_length() - 1
    if first_stride < 1 or first_stride != 1 << halvings:
        raise ConfigError(f'the first stride must be a power of two, found {first_stride}')
    return tuple(
        (_halve(input_size_hw[0], halvings + k), _halve(input_size_hw[1], halvings + k))
        for k in range(levels))


def _halve(side: int, times: int) -> int:
    for _ in range(times):
        side = ceil(side / 2)
    return side


def ssdlite_levels(input_size_hw: tuple[int, int], scales: Sequence[float],
                   first_stride: int = 16, aspect_ratios: Sequence[float] = (2.0, 3.0)
                   ) -> tuple[PriorLevel, ...]:
    """
    SSDLite at any input size: six shapes in each cell of every level.

    With `linear_scales(0.2, 0.95, 6)` this is SSDLite320: 3,234 priors at 320 x 320 pixels,
    3,000 at 300 x 300. Shapes may be wider than the image, as in the original Caffe SSD;
    torchvision clips them to its side unless told otherwise.

    Args:
        input_size_hw: of the network input, pixels.
        scales: one a level; the level after the last counts as scale 1.0.
        first_stride: of the finest map, 16 in SSDLite, 8 for small objects.
        aspect_ratios: above 1; each also gives its reciprocal.

    Returns:
        One level for each scale.
    """
    sizes = feature_sizes(input_size_hw, first_stride, len(scales))
    following = [*scales[1:], 1.0]
    return tuple(
        PriorLevel(size, ssd_shapes(scale, next_scale, aspect_ratios))
        for size, scale, next_scale in zip(sizes, scales, following, strict=True))


def ssd300_levels() -> tuple[PriorLevel, ...]:
    """
    The priors of SSD300 (arXiv:1512.02325): 8,732, with 4 or 6 shapes a cell.

    Returns:
        Levels of 38, 19, 10, 5, 3 and 1 cells a side; scales as trained on COCO, 0.07 to 0.87,
        then 1.05.
    """
    sides = (38, 19, 10, 5, 3, 1)
    scales = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    ratios: tuple[tuple[float, ...], ...] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    return tuple(
        PriorLevel((side, side), ssd_shapes(scales[k], scales[k + 1], ratios[k]))
        for k, side in enumerate(sides))


def reference300_levels() -> tuple[PriorLevel, ...]:
    """
    The priors of the reference MobileNetV2-SSD at 300 x 300 pixels: 13,502.

    Strides 8, 16, 32, 64, 128 and 224; in every cell the level's scale and its geometric mean
    with the next one, each with three (five on the two middle levels) aspect ratios.

    Returns:
        Levels of 38, 19, 10, 5, 3 and 2 cells a side.
    """
    sides = (38, 19, 10, 5, 3, 2)
    scales = linear_scales(0.2, 0.95, len(sides))
    following = (*scales[1:], 1.0)
    three, five = (1.0, 2.0, 1 / 2), (1.0, 2.0, 1 / 2, 3.0, 1 / 3)
    ratios = (three, five, five, three, three, three)
    return tuple(
        PriorLevel((side, side), grid_shapes((s, sqrt(s * after)), ratio))
        for side, s, after, ratio in zip(sides, scales, following, ratios, strict=True))
