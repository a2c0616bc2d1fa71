"""
How well the prior boxes of a model cover the objects of a data set.

An object without a prior of IoU 0.5 has one poorly fitting positive and is rarely detected. Other
scales and aspect ratios cost nothing before training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import cxcywh_to_xyxy
from mbv2ssd_ros.core.priors import level_priors, PriorLevel
from mbv2ssd_train.config import ModelConfig

COVERED_IOU = 0.5
_ITERATIONS = 50  # of k-means; it converges long before
_SAMPLE = 2000  # objects for the fit
_FACTORS = (1.3, 1.1)  # steps of the search over scales and ratios
_MIN_GAIN = 5e-4  # of a step of the search
_MIN_SUGGESTED_GAIN = 0.02

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """The best prior of each object."""

    best_iou: NDArray[np.float32]  # (N,)
    level: NDArray[np.intp]  # (N,) that the best prior is on

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Which objects have a prior of IoU 0.5 or more; (N,)."""
        found: NDArray[np.bool_] = self.best_iou >= COVERED_IOU
        return found

    @cached_property
    def share(self) -> float:
        """Share of covered objects; nan without objects."""
        return float(self.covered.mean()) if len(self.best_iou) else float('nan')

    @cached_property
    def mean_iou(self) -> float:
        """Mean IoU with the best prior; nan without objects."""
        return float(self.best_iou.mean()) if len(self.best_iou) else float('nan')


@dataclass(frozen=True)
class Suggestion:
    """Prior boxes that cover more objects."""

    model: ModelConfig
    coverage: Coverage


def best_priors(levels: Sequence[PriorLevel], boxes_xyxy: NDArray[np.float32]) -> Coverage:
    """
    Find the best prior of boxes (N, 4), normalised to the network input; ties: finer level.

    Of all priors of one shape the one with the nearest centre, in x and in y, overlaps most, so
    only one for each shape is compared.
    """
    best_iou = np.zeros(len(boxes_xyxy), dtype=np.float32)
    best_level = np.zeros(len(boxes_xyxy), dtype=np.intp)
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    for number, level in enumerate(levels):
        grid = level_priors(level).reshape(*level.feature_size_hw, -1, 4)  # (H, W, A, 4)
        x = _nearest(grid[0, :, 0, 0], centres[:, 0])
        y = _nearest(grid[:, 0, 0, 1], centres[:, 1])
        for width, height in level.shapes_wh:
            priors = np.empty_like(boxes_xyxy)
            priors[:, 0], priors[:, 1], priors[:, 2], priors[:, 3] = x, y, width, height
            iou = _pairwise_iou(boxes_xyxy, cxcywh_to_xyxy(priors))
            better = iou > best_iou
            best_iou[better], best_level[better] = iou[better], number
    return Coverage(best_iou, best_level)


def suggest_priors(model: ModelConfig, boxes_xyxy: NDArray[np.float32]) -> Suggestion | None:
    """
    Fit scales and ratios to boxes (N, 4), normalised to the network input; None: no gain.

    The search starts from the configured values or from cluster means of sizes and shapes (k-means
    of logarithms), and changes each value while coverage grows. Cluster means alone are no
    solution: a map of few cells cannot cover small objects.
    """
    if len(boxes_xyxy) < len(model.scales):
        return None
    sample = boxes_xyxy[::-(-len(boxes_xyxy) // _SAMPLE)]
    initial = max(_initial_models(model, sample), key=lambda other: _merit(other, sample))
    fitted = _climb(initial, sample)
    present, best = (best_priors(one.prior_levels(), boxes_xyxy) for one in (model, fitted))
    gain = max(best.share - present.share, best.mean_iou - present.mean_iou)
    if gain < _MIN_SUGGESTED_GAIN or best.share < present.share:
        return None
    return Suggestion(fitted, best)


def _initial_models(model: ModelConfig, boxes_xyxy: NDArray[np.float32]) -> list[ModelConfig]:
    width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64).T
    scales = np.exp(_means_of_clusters(np.log(width * height) / 2, len(model.scales)))
    changes: list[dict[str, Any]] = [{}, {'scales': scales.round(3).tolist()}]
    if not _has_lists_of_ratios(model) and model.aspect_ratios:
        # the lowest cluster has the squares, which every level has anyway
        ratios = np.exp(_means_of_clusters(
            np.abs(np.log(width / height)), len(model.aspect_ratios) + 1)[1:])
        rounded = np.maximum(ratios.round(2), 1.05).tolist()
        changes += [{**change, 'aspect_ratios': rounded} for change in changes]
    return [_changed(model, change) for change in changes]


def _climb(model: ModelConfig, boxes_xyxy: NDArray[np.float32]) -> ModelConfig:
    """Change one value at a time, first by large and then by small factors."""
    merit = _merit(model, boxes_xyxy)
    for factor in _FACTORS:
        gained = True
        while gained:
            gained = False
            for other in _neighbours(model, factor):
                if (found := _merit(other, boxes_xyxy)) > merit + _MIN_GAIN:
                    best, merit, gained = other, found, True
            model = best if gained else model
    return model


def _neighbours(model: ModelConfig, factor: float) -> Iterator[ModelConfig]:
    keys = ('scales',) if _has_lists_of_ratios(model) else ('scales', 'aspect_ratios')
    for key in keys:
        values = getattr(model, key)
        for index, times in product(range(len(values)), (factor, 1 / factor)):
            moved = [*values]
            moved[index] = round(values[index] * times, 3)
            if moved == sorted(moved) and (key == 'scales' or min(moved) > 1):
                yield _changed(model, {key: moved})


def _merit(model: ModelConfig, boxes_xyxy: NDArray[np.float32]) -> float:
    coverage = best_priors(model.prior_levels(), boxes_xyxy)
    return coverage.share + coverage.mean_iou


def _changed(model: ModelConfig, change: dict[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate({**model.model_dump(), **change})


def _has_lists_of_ratios(model: ModelConfig) -> bool:
    return any(isinstance(ratio, tuple) for ratio in model.aspect_ratios)


def _means_of_clusters(values: Floats, count: int) -> Floats:
    """Return k means of numbers, ascending; deterministic."""
    means = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(_ITERATIONS):
        nearest = np.abs(values[:, None] - means).argmin(axis=1)
        sizes = np.bincount(nearest, minlength=count)
        sums = np.bincount(nearest, values, minlength=count)
        means = np.sort(np.where(sizes > 0, sums / np.maximum(sizes, 1), means))
    return means


def _nearest(centres: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each point the nearest of ascending centres."""
    middles = (centres[1:] + centres[:-1]) / 2
    return centres[np.searchsorted(middles, points)]


def _pairwise_iou(boxes_a: NDArray[np.float32], boxes_b: NDArray[np.float32]
                  ) -> NDArray[np.float32]:
    """Return the IoU of boxes in the same row; all have areas."""
    shared = np.clip(np.minimum(boxes_a[:, 2:], boxes_b[:, 2:])
                     - np.maximum(boxes_a[:, :2], boxes_b[:, :2]), 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (boxes_a, boxes_b)]
    return shared / (areas[0] + areas[1] - shared)
