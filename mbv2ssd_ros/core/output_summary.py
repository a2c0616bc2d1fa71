"""
Reduce a model's outputs for an image to a few numbers, and measure how far two such differ.

The strongest priors show what would be detected, the largest score of each class shows false
objects, and means over thousands of priors show small faults common to all of them: rounding
moves single priors, but hardly their means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.contract import ModelContract

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]  # boxes (B, P, 4), scores (B, P, C)
Infer = Callable[[NDArray[np.uint8]], Outputs]  # of images (B, H, W, 3) RGB

STRONGEST = 32  # priors that are kept, fewer where the model has fewer
_LEAST_SCORE = 1e-6  # in logarithms


@dataclass(frozen=True, eq=False)
class Summary:
    """The outputs for one image; `scores` and what derives from them without the background."""

    strongest: NDArray[np.int32]  # (K,) priors with the largest score of any class, in order
    boxes: NDArray[np.float32]  # (K, 4) of these
    scores: NDArray[np.float32]  # (K, C) of these
    highest: NDArray[np.float32]  # (C,) largest score of each class
    log_scores: NDArray[np.float32]  # (L, C) mean logarithm over the priors of each level
    level_boxes: NDArray[np.float32]  # (L, 4) mean over the priors of each level


@dataclass(frozen=True)
class Difference:
    """How far two summaries differ; boxes in units of the image side."""

    score: float
    box: float
    highest: float
    log_score: float
    level_log_score: float
    level_box: float

    def shares(self, limit: Difference) -> dict[str, float]:
        """Return each figure as a share of its limit, by field; 1 is just tolerated."""
        return {name: value / getattr(limit, name)
                for name, value in dataclasses.asdict(self).items()}

    def within(self, limit: Difference) -> bool:
        """Whether no figure exceeds its limit; NaN always exceeds it."""
        return all(share <= 1 for share in self.shares(limit).values())


# Measured on the self-test's pictures with the shipped models; docs/training.md has a table.
# fp32: 3e-6 at most on x86-64 and aarch64; the limits leave room for TF32 on a GPU and for a
# resize that is one grey level off in 2 % of the values, which cost as much as fp16 does.
# fp16 against fp32: 0.0014, 0.0005, 0.0034, 0.0016, 0.014, 0.0003; aarch64's kernels 0.3 of the
# limits. int8: 0.026, 0.005, 0.055, 0.009, 0.45, 0.004 at most, with saturation at least 0.19,
# 0.06, 0.95, 0.46, 1.2, 0.03. A level may have six priors, which move with every rounding.
LIMITS = {
    'fp32': Difference(score=0.005, box=0.002, highest=0.02, log_score=0.005,
                       level_log_score=0.05, level_box=0.002),
    'fp16': Difference(score=0.01, box=0.005, highest=0.05, log_score=0.01,
                       level_log_score=0.1, level_box=0.005),
    'int8': Difference(score=0.08, box=0.03, highest=0.3, log_score=0.04,
                       level_log_score=2.0, level_box=0.02),
}
NAMES = {
    'score': 'scores of the strongest priors',
    'box': 'boxes of the strongest priors',
    'highest': 'largest score of a class',
    'log_score': 'mean logarithm of the scores',
    'level_log_score': 'mean logarithm of the scores of a level',
    'level_box': 'mean box of a level',
}


def summarise(boxes: NDArray[np.float32], scores: NDArray[np.float32], contract: ModelContract,
              strongest: NDArray[np.int32] | None = None) -> Summary:
    """Summarise boxes (P, 4) and scores (P, C) at the strongest priors, or at those given."""
    objects = scores if contract.background_index is None else scores[:, 1:]
    if strongest is None:
        order = np.argsort(-objects.max(axis=1), kind='stable')
        strongest = order[:STRONGEST].astype(np.int32)
    starts = np.cumsum([0, *contract.priors_per_level[:-1]])
    counts = np.array(contract.priors_per_level)[:, None]
    logarithms = np.log(np.maximum(objects, _LEAST_SCORE))
    log_scores, level_boxes = (
        (np.add.reduceat(values, starts, dtype=np.float64) / counts).astype(np.float32)
        for values in (logarithms, boxes))
    return Summary(strongest, boxes[strongest], objects[strongest], objects.max(axis=0),
                  log_scores, level_boxes)


def difference(found: Summary, expected: Summary, contract: ModelContract) -> Difference:
    """Compare two summaries for the same priors."""
    scores, boxes, highest, log_scores, level_boxes = (
        getattr(found, name) - getattr(expected, name)
        for name in ('scores', 'boxes', 'highest', 'log_scores', 'level_boxes'))
    overall = np.average(log_scores, axis=0, weights=contract.priors_per_level)
    return Difference(
        score=float(np.abs(scores).max(axis=1).mean()),
        box=float(np.abs(boxes).max(axis=1).mean()),
        highest=float(np.abs(highest).max()),
        log_score=float(np.abs(overall).mean()),
        level_log_score=float(np.abs(log_scores).mean(axis=1).max()),
        level_box=float(np.abs(level_boxes).max()))


def largest(differences: Sequence[Difference]) -> Difference:
    """Return the largest of each figure; numpy's max keeps a NaN, Python's may not."""
    return Difference(*np.max([dataclasses.astuple(one) for one in differences], axis=0).tolist())
