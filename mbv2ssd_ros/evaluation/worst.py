"""The images with the worst detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.matching import Matches

BADNESS = ('objects that were not found, plus the scores of the false detections above the score '
           'threshold')


@dataclass(frozen=True)
class WorstImage:
    """One image and how bad it is."""

    image: int  # index of the result
    missed: int
    false: int
    badness: float  # see BADNESS


def worst_images(matches: Matches, num_images: int, score_threshold: float,
                 count: int = 12, per_class: int = 3, at_most: int = 60) -> list[WorstImage]:
    """
    Choose the worst images of all classes together, and the worst of each class.

    Returns at_most images, the worst first; none is without mistakes.
    """
    missed, false, badness = image_mistakes(matches, num_images, score_threshold)
    chosen = _worst(badness, count)
    for label in matches.labels:
        of_class = image_mistakes(matches, num_images, score_threshold, label)[2]
        chosen += [image for image in _worst(of_class, per_class) if image not in chosen]
    chosen = sorted(chosen[:at_most], key=lambda image: -badness[image])
    return [WorstImage(image, int(missed[image]), int(false[image]), float(badness[image]))
            for image in chosen]


def _worst(badness: NDArray[np.float64], count: int) -> list[int]:
    order = np.argsort(-badness, kind='stable')[:count]
    return [int(image) for image in order if badness[image] > 0]


def image_mistakes(matches: Matches, num_images: int, score_threshold: float,
                   label: int | None = None) -> tuple[NDArray, NDArray, NDArray]:
    """Return missed objects, false detections and badness of each image, of one class or all."""
    found, objects = matches.found, matches.objects
    false = (found.scores > score_threshold) & found.counts & ~found.correct
    missed = ~objects.difficult & ~(objects.found_at > score_threshold)
    if label is not None:
        false, missed = false & (found.labels == label), missed & (objects.labels == label)
    missed_count = np.bincount(objects.images[missed], minlength=num_images)
    false_count = np.bincount(found.images[false], minlength=num_images)
    weight = np.bincount(found.images[false], found.scores[false], minlength=num_images)
    return missed_count, false_count, missed_count + weight
