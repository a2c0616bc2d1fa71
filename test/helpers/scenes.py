"""Results of evaluations small enough to work out in the head, and random ones."""

import numpy as np

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.metrics import GroundTruth
from mbv2ssd_ros.evaluation.results import ImageResult

CAT, DOG = 1, 2
NAMES = ('cat', 'dog')
SIZE_HW = (100, 200)  # not square


def square(x, y, side=20):
    """Return the xyxy box of a square."""
    return (x, y, x + side, y + side)


def scene(index, found=(), objects=(), size_hw=SIZE_HW):
    """
    Return the result of one image.

    Args:
        index: of the image.
        found: (label, score, box).
        objects: (label, box) or (label, box, difficult).
        size_hw: of the image.
    """
    return ImageResult(
        index, f'image{index}', size_hw,
        Detections(np.array([box for _, _, box in found], np.float32).reshape(-1, 4),
                   np.array([score for _, score, _ in found], np.float32),
                   np.array([label for label, _, _ in found], np.intp)),
        GroundTruth(np.array([item[1] for item in objects], np.float32).reshape(-1, 4),
                    np.array([item[0] for item in objects], np.intp),
                    np.array([len(item) > 2 and item[2] for item in objects], bool)))


def random_scenes(seed, images=20, classes=2, size_hw=(300, 500)):
    """Return images with objects of all sizes, found well, badly, twice, wrongly or not at all."""
    rng = np.random.default_rng(seed)
    results = []
    for index in range(images):
        count = int(rng.integers(0, 7)) if index else 0
        corner = rng.uniform(0, 150, (count, 2))
        boxes = np.concatenate([corner, corner + np.exp(rng.uniform(2, 5, (count, 2)))], axis=1)
        labels = rng.integers(1, classes + 1, count)
        chosen = rng.integers(0, count, int(rng.integers(0, 12))) if count else np.zeros(0, int)
        found = boxes[chosen] + rng.normal(0, 8, (len(chosen), 4))
        found = np.concatenate([found, [[5.0, 6, 60, 40]]])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        kinds = np.append(labels[chosen], 1)
        wrong = rng.random(len(kinds)) < 0.15
        kinds = np.where(wrong, rng.integers(1, classes + 1, len(kinds)), kinds)
        results.append(scene(
            index, list(zip(kinds, rng.random(len(kinds)), found)),
            list(zip(labels, boxes, rng.random(count) < 0.2)), size_hw))
    return results
