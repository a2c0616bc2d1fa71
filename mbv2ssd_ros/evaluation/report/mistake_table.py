"""Kinds of mistakes, their number and what each costs."""

from __future__ import annotations

import numpy as np

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.report.markup import joined, Markup
from mbv2ssd_ros.evaluation.report.page import scoped
from mbv2ssd_ros.evaluation.report.tables import Cell, Column, share, table

_MEANING = {
    'classification': 'on an object of another class (IoU from 0.5)',
    'localisation': 'near an object of its class (IoU 0.1 to 0.5)',
    'both': 'near an object of another class (IoU 0.1 to 0.5)',
    'duplicate': 'on an object of its class that a better detection has taken',
    'background': 'where there is no object (IoU below 0.1)',
    'missed': 'object that is neither found nor fixed with the first two kinds'}
_COLUMNS = (Column('kind', is_text=True), Column('count', 'at the score threshold'),
            Column('AP@0.5 gain', 'in points of 100, if this kind alone were fixed'),
            Column('what it is', is_text=True))


def mistake_tables(analysis: Analysis) -> Markup:
    """Build one table for all classes, which is shown first, and one for each."""
    return joined([scoped(label, _table(analysis, label)) for label in analysis.scopes])


def _table(analysis: Analysis, label: int) -> Markup:
    by_name = {kind.name: kind for kind in analysis.mistakes}
    kinds = [by_name[name] for name in _MEANING]
    counts = [kind.counts[label] if label else kind.count for kind in kinds]
    gains = [100 * (kind.ap_gains[label] if label else kind.map_gain) for kind in kinds]
    most = max(*counts, 1)
    largest = max(1.0, *(gain for gain in gains if np.isfinite(gain)), 1.0)
    return table(_COLUMNS, [
        [Cell(kind.name, kind.name), share(count, most, 0), share(gain, largest, 1),
         Cell(_MEANING[kind.name], '')]
        for kind, count, gain in zip(kinds, counts, gains, strict=True)])
