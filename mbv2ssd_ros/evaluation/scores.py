"""How scores are distributed, and whether they can be read as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.metrics import PrecisionRecall

BINS = 20


@dataclass(frozen=True)
class ScoreBins:
    """Right and wrong detections by score, in BINS equal steps from 0 to 1."""

    correct: NDArray[np.int64]  # (BINS,)
    false: NDArray[np.int64]  # (BINS,)
    mean_scores: NDArray[np.float64]  # (BINS,) nan where a bin is empty

    @property
    def share_correct(self) -> NDArray[np.float64]:
        """(BINS,) of the detections of a bin; nan where it is empty."""
        total = self.correct + self.false
        return np.divide(self.correct, total, out=np.full(BINS, np.nan), where=total > 0)

    @property
    def calibration_error(self) -> float:
        """
        Expected calibration error (Guo et al., arXiv:1706.04599); nan without detections.

        The mean distance between the score and the share of right detections of a bin, weighted
        by the number of detections. The many low scores dominate it: compare models at the same
        score threshold.
        """
        total = self.correct + self.false
        if not total.sum():
            return float('nan')
        gaps = np.abs(self.share_correct - self.mean_scores)
        return float(np.sum(gaps[total > 0] * total[total > 0]) / total.sum())


def score_bins(curve: PrecisionRecall) -> ScoreBins:
    """Bin detections by score; a score on an edge belongs to the higher bin, 1 to the last."""
    bins = np.clip((curve.scores * BINS).astype(int), 0, BINS - 1)
    total = np.bincount(bins, minlength=BINS)
    correct = np.bincount(bins[curve.correct], minlength=BINS)
    sums = np.bincount(bins, weights=curve.scores, minlength=BINS)
    means = np.divide(sums, total, out=np.full(BINS, np.nan), where=total > 0)
    return ScoreBins(correct, total - correct, means)
