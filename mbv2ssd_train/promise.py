"""
The largest score threshold that keeps the share of missed objects below a limit.

Risk control after Bates et al., "Distribution-Free, Risk-Controlling Prediction Sets"
(arXiv:2101.02703), with the Hoeffding-Bentkus bound of Angelopoulos et al., "Learn then Test"
(arXiv:2110.01052). Objects of one image are not independent: the unit is the image, and the risk
is the expected share of missed objects of a class in an image that shows the class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.evaluation.matching import Matches

_STEPS = 10_000  # thresholds are multiples of 1e-4


@dataclass(frozen=True)
class Promise:
    """What holds for one class; threshold is None where no threshold can keep the limit."""

    name: str
    limit: float  # of the share of missed objects
    threshold: float | None
    images: int  # that show the class
    objects: int
    missed: float  # mean share at the threshold, or at the lowest one measured
    false_per_image: float  # false detections in an image of the data, at the same threshold


def promises(matches: Matches, names: Sequence[str], limits: Mapping[str, float],
             confidence: float, lowest: float, images: int) -> list[Promise]:
    """
    Make a promise for each class in `limits`, each at its own confidence.

    `lowest` is the score threshold of the detections, `images` the size of the data. ConfigError
    for an unknown class, a class that the data do not show, or numbers outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError(f'--confidence {confidence}: expected a number between 0 and 1')
    return [_promise(matches, names, name, limit, confidence, lowest, images)
            for name, limit in limits.items()]


def _promise(matches: Matches, names: Sequence[str], name: str, limit: float, confidence: float,
             lowest: float, images: int) -> Promise:
    if name not in names:
        raise ConfigError(f'--miss {name!r}: the model knows no such class; it knows '
                          f'{", ".join(names)}')
    if not 0 < limit < 1:
        raise ConfigError(f'--miss {name}: {limit}: expected a share between 0 and 1')
    label, objects, found = names.index(name) + 1, matches.objects, matches.found
    chosen = (objects.labels == label) & ~objects.difficult
    if not chosen.any():
        raise ConfigError(f'--miss {name!r}: no image of the split shows this class')
    image_of, found_at = objects.images[chosen], objects.found_at[chosen]
    threshold = largest_threshold(image_of, found_at, limit, confidence, lowest)
    used = lowest if threshold is None else threshold
    wrong = (found.labels == label) & found.counts & ~found.correct & (found.scores > used)
    return Promise(name, limit, threshold, len(np.unique(image_of)), len(image_of),
                   mean_missed(image_of, found_at, used), float(wrong.sum()) / images)


def mean_missed(image_of: NDArray[np.intp], found_at: NDArray[np.float64], threshold: float
                ) -> float:
    """Return the mean over images of the share of objects that are not found above a score."""
    _, places, counts = np.unique(image_of, return_inverse=True, return_counts=True)
    return float((np.bincount(places, found_at <= threshold) / counts).mean())


def largest_threshold(image_of: NDArray[np.intp], found_at: NDArray[np.float64], limit: float,
                      confidence: float, lowest: float) -> float | None:
    """
    Return the largest threshold, from `lowest` on, at which the limit holds with confidence.

    image_of, (M,), is the image of each object, found_at, (M,), the score of the detection that
    found it, -1 where there is none. None where the limit fails at `lowest` already.
    """
    count = len(np.unique(image_of))

    def holds(step: int) -> bool:
        missed = mean_missed(image_of, found_at, step / _STEPS)
        return p_value(missed, limit, count) <= 1 - confidence
    # the share of missed objects grows with the threshold: bisect
    low, high = math.ceil(lowest * _STEPS), _STEPS
    if not holds(low):
        return None
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low / _STEPS


def p_value(mean: float, limit: float, count: int) -> float:
    """Bound how likely a mean of `count` values in [0, 1] is if they expect `limit` or more."""
    smaller = min(mean, limit)
    relative = sum(part * math.log(part / other) for part, other in (
        (smaller, limit), (1 - smaller, 1 - limit)) if part > 0)
    successes = min(count, math.ceil(count * mean - 1e-9))
    return min(1.0, math.exp(-count * relative), math.e * _binomial_cdf(successes, count, limit))


def _binomial_cdf(successes: int, count: int, probability: float) -> float:
    """Return P(X <= successes) of `count` draws."""
    chosen = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
              + k * math.log(probability) + (count - k) * math.log1p(-probability)
              for k in range(successes + 1)]
    largest = max(chosen)
    return math.exp(largest) * sum(math.exp(value - largest) for value in chosen)
