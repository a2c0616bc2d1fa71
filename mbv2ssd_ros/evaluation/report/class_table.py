"""One row of figures for each class."""

from __future__ import annotations

import numpy as np

from mbv2ssd_ros.evaluation.analysis import Analysis, ScopeFigures
from mbv2ssd_ros.evaluation.report.markup import element, Markup
from mbv2ssd_ros.evaluation.report.tables import Cell, Column, count, number, share, table

_COLUMNS = (
    Column('class', is_text=True),
    Column('objects', 'without difficult ones'),
    Column('AP@0.5', 'VOC, area under the curve'),
    Column('AP 0.5–0.95', 'COCO, mean over ten IoU thresholds'),
    Column('precision', 'share of the detections that are right'),
    Column('recall', 'share of the objects that are found'),
    Column('F1', 'harmonic mean of precision and recall'),
    Column('best F1', 'of all score thresholds'),
    Column('at score', 'score threshold of the best F1'))


def class_table(analysis: Analysis) -> Markup:
    """Build a sortable table with the means and the pooled figures in the last row."""
    rows = [_row(_chooser(analysis.name(label), label), scope, scope.curve.average_precision,
                 analysis.coco.ap_of_class[label])
            for label, scope in analysis.classes.items()]
    last = _row(Cell('mean AP, rest pooled', ''), analysis.overall, analysis.map_50,
                analysis.coco.ap)
    return table(_COLUMNS, rows, [{'data_label': label} for label in analysis.classes], [last],
                 sortable=True, id='class-table')


def _chooser(name: str, label: int) -> Cell:
    return Cell(element('button', name, type='button', data_choose=label), name)


def _row(name: Cell, scope: ScopeFigures, ap_50: float, ap: float) -> list[Cell]:
    best = scope.best
    return [name, count(scope.curve.num_objects), share(ap_50), share(ap),
            number(scope.chosen.precision), number(scope.chosen.recall), number(scope.chosen.f1),
            number(best.f1 if best else np.nan), number(best.score_threshold if best else np.nan)]
