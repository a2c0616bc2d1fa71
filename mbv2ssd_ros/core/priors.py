"""
Prior boxes: the only place where they are made.

Training imports them, the export bakes them into the model, the run time never sees them. They
are ordered level by level, row by row, cell by cell, shape by shape, which is the order in
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

_SSD300_STRIDES = (8, 16, 32, 64, None, None)  # pixels; None: the cells divide the image evenly


@dataclass(frozen=True)
class PriorLevel:
    """The prior boxes of one feature map: the same shapes at every cell centre."""

    feature_size_hw: tuple[int, int]
    shapes_wh: tuple[Shape, ...]  # in units of the image side
    # Cells that span the image, where the map has a different number of them: SSD300's first map
    # has 38 cells of 8 pixels a side for 300 pixels, which are 37.5.
    cells_hw: tuple[float, float] | None = None

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
    Place the shapes at every cell centre: (H * W * A, 4) float32 cxcywh.

    x runs over the columns, y over the rows. Boxes at the border may reach outside [0, 1].
    """
    height, width = level.feature_size_hw
    rows, columns = level.cells_hw or level.feature_size_hw
    shapes = np.asarray(level.shapes_wh, dtype=np.float64)  # (A, 2)
    boxes = np.empty((height, width, len(shapes), 4))
    boxes[..., 0] = ((np.arange(width) + 0.5) / columns)[None, :, None]
    boxes[..., 1] = ((np.arange(height) + 0.5) / rows)[:, None, None]
    boxes[..., 2:] = shapes
    return boxes.reshape(-1, 4).astype(np.float32)


def build_priors(levels: Sequence[PriorLevel]) -> NDArray[np.float32]:
    """All priors of a model, (P, 4) float32 cxcywh, from the finest level to the coarsest."""
    return np.concatenate([level_priors(level) for level in levels])


def linear_scales(smallest: float, largest: float, count: int) -> tuple[float, ...]:
    """Evenly spaced box scales, one a level, as shares of the image side (SSD, eq. 4)."""
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
    The 2 + 2 * len(aspect_ratios) shapes of SSD: two squares, and each ratio and its reciprocal.

    scale and next_scale are shares of the image side; the second square has their geometric mean.
    Ratios are width over height, above 1. ConfigError where a number is not positive.
    """
    _require_positive('scales', (scale, next_scale))
    _require_positive('aspect ratios', aspect_ratios)
    between = sqrt(scale * next_scale)
    shapes = [(scale, scale), (between, between)]
    for ratio in aspect_ratios:
        long, short = scale * sqrt(ratio), scale / sqrt(ratio)
        shapes += [(long, short), (short, long)]
    return tuple(shapes)


def grid_shapes(scale: float, next_scale: float, aspect_ratios: Sequence[float]
                ) -> tuple[Shape, ...]:
    """
    The shapes of the reference design: both scales of SSD with every aspect ratio.

    2 * (1 + 2 * len(aspect_ratios)) shapes: at each scale a square, each ratio and its
    reciprocal; arguments as for ssd_shapes.
    """
    _require_positive('scales', (scale, next_scale))
    _require_positive('aspect ratios', aspect_ratios)
    ratios = [1.0, *(one for ratio in aspect_ratios for one in (ratio, 1 / ratio))]
    return tuple((s * sqrt(ratio), s / sqrt(ratio))
                 for s in (scale, sqrt(scale * next_scale)) for ratio in ratios)


def lowest_shapes(scale: float, aspect_ratios: Sequence[float]) -> tuple[Shape, ...]:
    """
    The few shapes that TensorFlow's SSDs have on the finest map, which has the most cells.

    1 + 2 * len(aspect_ratios) shapes: a square of half the scale, and each ratio and its
    reciprocal at the scale; arguments as for ssd_shapes.
    """
    _, _, *ratios = ssd_shapes(scale, scale, aspect_ratios)
    return ((scale / 2, scale / 2), *ratios)


def clip_shapes(shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Limit widths and heights to the image side, 1, as torchvision does."""
    return tuple((min(width, 1.0), min(height, 1.0)) for width, height in shapes)


def _require_positive(name: str, values: Sequence[float]) -> None:
    if not all(value > 0 for value in values):
        raise ConfigError(f'prior {name} must be positive, found {tuple(values)}')


def feature_sizes(input_size_hw: tuple[int, int], first_stride: int, levels: int
                  ) -> tuple[tuple[int, int], ...]:
    """Sizes of feature maps that halve, rounding up; first_stride is a power of two, pixels."""
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


def halving_levels(input_size_hw: tuple[int, int], first_stride: int,
                   shapes: Sequence[Sequence[Shape]]) -> tuple[PriorLevel, ...]:
    """Levels of maps that halve, as SSDLite's from stride 16, or 8 for small objects."""
    sizes = feature_sizes(input_size_hw, first_stride, len(shapes))
    return tuple(PriorLevel(size, tuple(level))
                 for size, level in zip(sizes, shapes, strict=True))


def ssd300_levels(input_size_hw: tuple[int, int], shapes: Sequence[Sequence[Shape]]
                  ) -> tuple[PriorLevel, ...]:
    """
    Levels of SSD300 on VGG16: maps of 38, 19, 10, 5, 3 and 1 cells a side at 300 pixels.

    The cells of the first four are 8, 16, 32 and 64 pixels wide, so that the last ones may reach
    over the border; those of the other two divide the image evenly. ConfigError for an input too
    small for six maps, or shapes for another number of them.
    """
    if len(shapes) != len(_SSD300_STRIDES):
        raise ConfigError(f'SSD300 has {len(_SSD300_STRIDES)} maps, found prior shapes for '
                          f'{len(shapes)}')
    height, width = input_size_hw
    sizes = zip(_ssd300_sides(height), _ssd300_sides(width), strict=True)
    return tuple(
        PriorLevel(size, tuple(level), (height / stride, width / stride) if stride else None)
        for size, stride, level in zip(sizes, _SSD300_STRIDES, shapes, strict=True))


def _ssd300_sides(side: int) -> tuple[int, ...]:
    """Cells along a side: the third pooling alone rounds up, the last two maps have no padding."""
    first = ceil(side // 4 / 2)
    halved = [first, first // 2, ceil(first // 2 / 2), ceil(first // 2 / 4)]
    return (*halved, halved[-1] - 2, halved[-1] - 4)
