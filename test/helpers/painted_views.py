"""Rectangles painted on images, for tests that look for them in augmented views."""

import numpy as np

from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment.draws import uniform_draws
from mbv2ssd_train.data.augment.geometry import (
    DRAWS,
    Objects,
)

BGR = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)}  # what object of a label is painted in


def objects_of(*images):
    """Make objects of images from lists of boxes; labels count from 1."""
    most = max(map(len, images))
    boxes = [[*rows, *[[0, 0, 0, 0]] * (most - len(rows))] for rows in images]
    labels = [[*range(1, len(rows) + 1), *[0] * (most - len(rows))] for rows in images]
    return Objects(np.array(boxes, np.float32).reshape(len(images), most, 4),
                   np.array(labels, np.int64).reshape(len(images), most),
                   np.zeros((len(images), most), bool))


def draws_of(count, seed=0):
    return uniform_draws(seed, 0, np.arange(count), np.zeros(count, int), DRAWS)


def painted(seed, size_hw=(120, 200)):
    """Three rectangles beside each other on dark grey; return pixels and boxes."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    pixels, boxes = np.full((height, width, 3), 40, np.uint8), []
    for label, left in zip((1, 2, 3), np.linspace(0, width, 4)[:3].astype(int)):
        x1, x2 = left + np.sort(rng.choice(np.arange(0, width // 3, 5), 2, replace=False))
        y1, y2 = np.sort(rng.choice(np.arange(0, height, 5), 2, replace=False))
        x2, y2 = x2 + 5, y2 + 5  # 10 pixels at least
        pixels[y1:y2, x1:x2] = BGR[label]
        boxes.append([x1 / width, y1 / height, x2 / width, y2 / height])
    return pixels, boxes


def extent(rgb, label):
    """Return the box of what is painted in a label's colour, in pixels, or None."""
    own = rgb[..., ::-1].astype(int) @ (np.array(BGR[label]) / 255)
    others = rgb.sum(axis=-1) - own
    ys, xs = np.nonzero((own > 140) & (others < 140))
    return (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None


GEOMETRY = {
    'expand': AugmentConfig(flip=0, expand=1, crop=0, photometric=0),
    'crop': AugmentConfig(flip=0, expand=0, crop=1, photometric=0),
    'flip': AugmentConfig(flip=1, expand=0, crop=0, photometric=0),
    'all': AugmentConfig(flip=0.5, expand=1, crop=1, photometric=0)}
