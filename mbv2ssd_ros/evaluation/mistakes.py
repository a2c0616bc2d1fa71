"""
The kinds of mistakes of a detector and what each costs, as in TIDE (arXiv:2008.08115).

Counts are taken at a score threshold. The cost, dAP, is what AP@0.5 (VOC, area under the curve)
would gain if this kind of mistake alone were fixed, over all detections:

- classification: the detection gets the class of its object;
- localisation: it gets the box of its object;
- both, duplicate, background: it is removed;
- missed: objects that are neither found nor part of a fixable mistake are removed.

A fixed detection on an object that is found already is a duplicate and removed too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.metrics import curves_by_label, mean_ap, PrecisionRecall
from mbv2ssd_ros.evaluation.matching import Kind, Matches, MISTAKES

NAMES = (*(kind.name.lower() for kind in MISTAKES), 'missed')
_FIXABLE = (Kind.LOCALISATION, Kind.CLASSIFICATION)


@dataclass(frozen=True)
class Mistakes:
    """One kind of mistake."""

    name: str  # one of NAMES
    counts: dict[int, int]  # by label: of the detection, or of the missed object
    map_gain: float  # dAP of the mean; nan without objects
    ap_gains: dict[int, float]  # dAP of each class

    @property
    def count(self) -> int:
        """Of all classes."""
        return sum(self.counts.values())


def break_down(matches: Matches, score_threshold: float) -> tuple[Mistakes, ...]:
    """Count the mistakes above a score threshold, and compute their cost, for each of NAMES."""
    before = matches.curves()
    kept = matches.found.scores > score_threshold
    counts = [_per_label(matches, matches.found.labels[kept & (matches.found.kinds == kind)])
              for kind in MISTAKES]
    counts.append(_per_label(matches, matches.objects.labels[_missed(matches, kept)]))
    after = [*(_without(matches, kind) for kind in MISTAKES), _without_missed(matches, before)]
    map_before = mean_ap(before)
    ap_before = {label: before[label].average_precision for label in matches.labels}
    return tuple(
        Mistakes(name, count, mean_ap(curves) - map_before, {
            label: curves[label].average_precision - ap_before[label]
            for label in matches.labels})
        for name, count, curves in zip(NAMES, counts, after, strict=True))


def _per_label(matches: Matches, labels: NDArray[np.intp]) -> dict[int, int]:
    return {label: int(np.count_nonzero(labels == label)) for label in matches.labels}


def _missed(matches: Matches, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(M,) objects that are neither found nor part of a fixable mistake."""
    found = matches.found
    missed = ~matches.objects.difficult
    missed[found.objects[kept & np.isin(found.kinds, (Kind.CORRECT, *_FIXABLE))]] = False
    return missed


def _without(matches: Matches, kind: Kind) -> dict[int, PrecisionRecall]:
    """Return the curves with one kind of mistake fixed."""
    found, objects = matches.found, matches.objects
    labels, correct = found.labels, found.correct
    rows = found.counts & (found.kinds != kind)
    if kind in _FIXABLE:
        fixed = _first_on_free_objects(matches, kind)
        rows[fixed] = True
        labels, correct = labels.copy(), correct.copy()
        labels[fixed] = objects.labels[found.objects[fixed]]
        correct[fixed] = True
    return curves_by_label(found.scores[rows], correct[rows], labels[rows],
                           objects.labels[~objects.difficult], matches.labels)


def _first_on_free_objects(matches: Matches, kind: Kind) -> NDArray[np.intp]:
    """Rows of the best detection of a kind for each object that counts and is not found."""
    found, objects = matches.found, matches.objects
    free = ~objects.difficult & (objects.found_at < 0)
    rows = np.flatnonzero(found.kinds == kind)
    rows = rows[free[found.objects[rows]]]
    rows = rows[np.argsort(-found.scores[rows], kind='stable')]
    first: NDArray[np.intp] = rows[np.unique(found.objects[rows], return_index=True)[1]]
    return first


def _without_missed(matches: Matches, before: Mapping[int, PrecisionRecall]
                    ) -> dict[int, PrecisionRecall]:
    missed = _missed(matches, np.ones(len(matches.found.scores), bool))
    curves = matches.curves(~matches.objects.difficult & ~missed)
    # a class whose objects are all missed has nothing left to find: its AP stays what it was
    return {label: curves[label] if curves[label].num_objects else before[label]
            for label in matches.labels}
