"""The input of an evaluation: detections and ground truth of each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.metrics import GroundTruth


@dataclass(frozen=True)
class ImageResult:
    """
    Detections and ground truth of one image.

    Boxes are in pixels of the original image, not of a reduced copy, so that object sizes are
    comparable. Labels are 1-based: label k is class_names[k - 1].
    """

    index: int  # place in the data set, or number of the frame
    name: str  # of the image or frame, for display
    size_hw: tuple[int, int]  # of the original image, pixels
    detections: Detections
    truth: GroundTruth

    @property
    def pair(self) -> tuple[Detections, GroundTruth]:
        """As mbv2ssd_ros.core.metrics takes it."""
        return self.detections, self.truth


def in_order(results: Iterable[ImageResult], count: int) -> tuple[ImageResult, ...]:
    """
    Sort the results of several processes into the order of the data.

    DataError: one of `count` images is missing or occurs twice, so that figures would be wrong.
    """
    found = sorted(results, key=lambda result: result.index)
    indices = [result.index for result in found]
    if indices != list(range(count)):
        missing = sorted(set(range(count)) - set(indices))
        twice = sorted({i for i, after in zip(indices, indices[1:]) if i == after})
        raise DataError(
            f'{len(found)} results for {count} images: {missing[:5] or "none"} are missing, '
            f'{twice[:5] or "none"} duplicate (indices, the first five). Each process must '
            'detect its own share of the images')
    return tuple(found)
