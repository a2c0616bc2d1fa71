"""Compare the detections of two models on the same images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.boxes import iou_matrix
from mbv2ssd_ros.core.detections import Detections, DetectionSelector, DetectionSettings

SCORE_THRESHOLD = 0.35  # what the detector node reports by default
_WEAK = 0.5  # share of it that a partner needs, as scores near the threshold cross it
_PARTNER_IOU = 0.5


@dataclass(frozen=True)
class Pairs:
    """Detections of one image and their partners from another model."""

    ious: tuple[float, ...]
    score_differences: tuple[float, ...]
    alone: int  # detections without partner


@dataclass(frozen=True)
class Agreement:
    """How far two models agree; a detection counts for each model that has it."""

    images: int
    box_max: float  # largest difference of any prior's box, in units of the image side
    score_max: float  # largest difference of any score of any prior
    detections: int
    alone: int  # no box of the same class and IoU >= 0.5 in the other model
    iou_mean: float  # of a detection and its partner; 1 without detections
    iou_min: float
    pair_score_mean: float  # difference of their scores
    pair_score_max: float

    @property
    def alone_share(self) -> float:
        """Share of the detections that only one model has."""
        return self.alone / max(self.detections, 1)


@dataclass(frozen=True)
class Limits:
    """What rounding explains, for a precision; a difference beyond it has another cause."""

    alone_share: float
    iou_mean: float
    pair_score_mean: float
    box_max: float = float('inf')  # low precisions have outliers among thousands of priors
    score_max: float = float('inf')


@dataclass(frozen=True)
class Check:
    """One comparison and its verdict."""

    name: str
    found: str
    allowed: str
    fine: bool


def measure_agreement(first: Backend, second: Backend, images: Iterable[NDArray[np.uint8]]
                      ) -> Agreement:
    """
    Run two models of the same input, priors and classes on the same images.

    Images are (H, W, 3) uint8 RGB in the models' input size. Raises BackendError where a model
    fails or its outputs are not finite.
    """
    settings = DetectionSettings(score_threshold=_WEAK * SCORE_THRESHOLD)
    selector = DetectionSelector(first.contract, settings)
    largest, pairs, count = np.zeros(2), [], 0
    for image in images:
        one, other = (tuple(output.copy() for output in model.infer(image[None]))
                      for model in (first, second))
        # numpy's maximum propagates nan
        largest = np.maximum(largest, [np.abs(a - b).max() for a, b in zip(one, other)])
        found = [selector.select(boxes[0], scores[0]) for boxes, scores in (one, other)]
        pairs += [pair_up(found[0], found[1]), pair_up(found[1], found[0])]
        count += 1
    ious = [iou for pair in pairs for iou in pair.ious] or [1.0]
    scores = [score for pair in pairs for score in pair.score_differences] or [0.0]
    alone = sum(pair.alone for pair in pairs)
    return Agreement(
        count, float(largest[0]), float(largest[1]),
        sum(len(pair.ious) for pair in pairs) + alone, alone, float(np.mean(ious)), min(ious),
        float(np.mean(scores)), max(scores))


def pair_up(found: Detections, others: Detections) -> Pairs:
    """
    Give every detection above SCORE_THRESHOLD its partner.

    `found` is sorted, best first; `others` includes weaker detections. A partner has the same
    class, is the nearest unused one, and serves once.
    """
    strong = found.scores >= SCORE_THRESHOLD
    overlaps = iou_matrix(found.boxes_xyxy, others.boxes_xyxy)
    overlaps[found.labels[:, None] != others.labels[None, :]] = 0
    ious, differences, alone = [], [], 0
    for row in np.flatnonzero(strong):
        column = int(np.argmax(overlaps[row])) if len(others) else -1
        if column < 0 or overlaps[row, column] < _PARTNER_IOU:
            alone += 1
            continue
        ious.append(float(overlaps[row, column]))
        differences.append(float(abs(found.scores[row] - others.scores[column])))
        overlaps[:, column] = 0
    return Pairs(tuple(ious), tuple(differences), alone)


# Measured on 101 images of VOC with the shipped model; fp16: none of 407 detections alone,
# IoU 0.9985, scores 0.0016; int8: 5 of 396 alone, IoU 0.926, scores 0.055. Two fp32 models are
# one model in two programs that add up in different orders.
LIMITS = {
    'fp32': Limits(alone_share=0, iou_mean=0.9999, pair_score_mean=1e-4, box_max=1e-4,
                   score_max=1e-4),
    'fp16': Limits(alone_share=0.01, iou_mean=0.99, pair_score_mean=0.01, box_max=0.05,
                   score_max=0.1),
    'int8': Limits(alone_share=0.1, iou_mean=0.85, pair_score_mean=0.12)}


def check_agreement(agreement: Agreement, limits: Limits) -> list[Check]:
    """Return one check for each limit; limits are of the lower of both precisions."""
    allowed = limits.alone_share * agreement.detections
    if limits.alone_share:
        allowed = max(1, allowed)  # one of a few detections may cross the threshold by chance
    found = agreement
    return [  # a nan is never within a limit
        Check('detections without partner', f'{found.alone} of {found.detections}',
              f'at most {allowed:.0f}', found.alone <= allowed),
        Check('overlap with the partner', f'{found.iou_mean:.4f} on average, {found.iou_min:.4f} '
              'at worst', f'at least {limits.iou_mean:g} on average',
              found.iou_mean >= limits.iou_mean),
        Check('scores of partners differ by', f'{found.pair_score_mean:.4f} on average, '
              f'{found.pair_score_max:.4f} at most',
              f'at most {limits.pair_score_mean:g} on average',
              found.pair_score_mean <= limits.pair_score_mean),
        Check('boxes of priors differ by', f'{found.box_max:.1e} of the image side at most',
              _most(limits.box_max), found.box_max <= limits.box_max),
        Check('scores of priors differ by', f'{found.score_max:.1e} at most',
              _most(limits.score_max), found.score_max <= limits.score_max)]


def _most(limit: float) -> str:
    return 'any' if limit == float('inf') else f'at most {limit:.0e}'


def shortfalls(agreement: Agreement, limits: Limits) -> list[str]:
    """Describe each failed limit, in a phrase; empty where all pass."""
    return [f'{check.name}: {check.found} (allowed: {check.allowed})'
            for check in check_agreement(agreement, limits) if not check.fine]
