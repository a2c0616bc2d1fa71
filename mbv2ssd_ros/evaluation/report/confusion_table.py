"""The confusion matrix as a table of shades."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.report.markup import element, Markup


def confusion_table(analysis: Analysis) -> Markup:
    """Build the table: objects by row, detections by column, the background last."""
    labels = [*analysis.classes, 0]
    head = [element('td'), *(element('th', element('span', _name(analysis, label, 'not found')),
                                     scope='col', data_label=label) for label in labels)]
    rows = [element('tr', element('th', _name(analysis, row, 'nothing there'), scope='row'),
                    _cells(analysis, row, labels), data_label=row) for row in labels]
    return element('div', element('table', element('thead', element('tr', head)),
                                  element('tbody', rows), id='confusion-table'), class_='scroll')


def _name(analysis: Analysis, label: int, nothing: str) -> str:
    return analysis.name(label) if label else nothing


def _cells(analysis: Analysis, row: int, labels: list[int]) -> list[Markup]:
    counts: NDArray[np.int64] = analysis.confusion[row]
    total = max(int(counts.sum()), 1)
    truth = _name(analysis, row, 'nothing there')
    cells = []
    for label in labels:
        number = int(counts[label])
        share = number / total
        kind = 'right' if row == label else 'wrong'
        cells.append(element('td', f'{number:,}' if number else '', class_=kind, data_label=label,
                             style=f'--share:{share:.2f}' if number else None,
                             title=f'{truth}, found as {_name(analysis, label, "nothing")}: '
                                   f'{number:,}, {share:.0%}' if number else None))
    return cells
