"""Tables: numbers aligned, bars behind shares, columns that sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.analysis import Analysis, ScopeFigures
from mbv2ssd_ros.evaluation.coco import LARGE_FROM_PX, SMALL_BELOW_PX
from mbv2ssd_ros.evaluation.report.markup import Child, element, joined, Markup
from mbv2ssd_ros.evaluation.report.page import scoped
from mbv2ssd_ros.evaluation.sizes import SizeBucket

NOTHING = '–'  # where there is no figure


@dataclass(frozen=True)
class Cell:
    """A figure as it is written, and what it sorts by."""

    text: Child
    value: float | str
    bar: float | None = None  # share of the cell's width, 0 to 1


def number(value: float, digits: int = 3) -> Cell:
    """Write a figure; nan as NOTHING."""
    if math.isnan(value):
        return Cell(NOTHING, -1)
    return Cell(f'{value:,.{digits}f}', value)


def count(value: int) -> Cell:
    """Write a count."""
    return Cell(f'{value:,}', value)


def share(value: float, of: float = 1, digits: int = 3) -> Cell:
    """Write a figure with a bar, which the value `of` would fill."""
    cell = number(value, digits)
    if math.isnan(value):
        return cell
    return Cell(cell.text, value, min(max(value / of, 0), 1) if of else 0)


@dataclass(frozen=True)
class Column:
    """A heading and its explanation."""

    title: str
    hint: str = ''
    is_text: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]],
          row_attributes: Sequence[dict[str, Any]] | None = None,
          last_rows: Sequence[Sequence[Cell]] = (), sortable: bool = False,
          **attributes: Any) -> Markup:
    """
    Build a table that scrolls sideways where it does not fit.

    last_rows are sums and means, which are not sorted; attributes are those of the table.
    """
    extra = row_attributes or [{}] * len(rows)
    body = [element('tr', _cells(columns, row), **more)
            for row, more in zip(rows, extra, strict=True)]
    foot = element('tfoot', [element('tr', _cells(columns, row)) for row in last_rows]
                   ) if last_rows else None
    return element('div', element(
        'table', element('thead', element('tr', [_heading(c, sortable) for c in columns])),
        element('tbody', body), foot, class_='sortable' if sortable else None, **attributes),
        class_='scroll')


def _heading(column: Column, sortable: bool) -> Markup:
    title = element('button', column.title, type='button') if sortable else column.title
    return element('th', title, title=column.hint or None, scope='col',
                   class_='text' if column.is_text else None)


def _cells(columns: Sequence[Column], row: Sequence[Cell]) -> list[Markup]:
    return [_cell(column, cell) for column, cell in zip(columns, row, strict=True)]


def _cell(column: Column, cell: Cell) -> Markup:
    bar = None if cell.bar is None else element(
        'span', element('span', style=f'width:{100 * cell.bar:.1f}%'), class_='bar')
    text = cell.text if bar is None else element('span', cell.text, class_='bar-text')
    return element('th' if column.is_text else 'td', bar, text,
                   data_value=cell.value, scope='row' if column.is_text else None,
                   class_='text' if column.is_text else None)


_CLASS_HEAD = (
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
    return table(_CLASS_HEAD, rows, [{'data_label': label} for label in analysis.classes], [last],
                 sortable=True, id='class-table')


def _chooser(name: str, label: int) -> Cell:
    return Cell(element('button', name, type='button', data_choose=label), name)


def _row(name: Cell, scope: ScopeFigures, ap_50: float, ap: float) -> list[Cell]:
    best = scope.best
    return [name, count(scope.curve.num_objects), share(ap_50), share(ap),
            number(scope.chosen.precision), number(scope.chosen.recall), number(scope.chosen.f1),
            number(best.f1 if best else np.nan), number(best.score_threshold if best else np.nan)]


def confusion_table(analysis: Analysis) -> Markup:
    """Build the table: objects by row, detections by column, the background last."""
    labels = [*analysis.classes, 0]
    head = [element('td'), *(element('th', element('span', _name(analysis, label, 'not found')),
                                     scope='col', data_label=label) for label in labels)]
    rows = [element('tr', element('th', _name(analysis, row, 'nothing there'), scope='row'),
                    _shades(analysis, row, labels), data_label=row) for row in labels]
    return element('div', element('table', element('thead', element('tr', head)),
                                  element('tbody', rows), id='confusion-table'), class_='scroll')


def _name(analysis: Analysis, label: int, nothing: str) -> str:
    return analysis.name(label) if label else nothing


def _shades(analysis: Analysis, row: int, labels: list[int]) -> list[Markup]:
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


_MEANING = {
    'classification': 'on an object of another class (IoU from 0.5)',
    'localisation': 'near an object of its class (IoU 0.1 to 0.5)',
    'both': 'near an object of another class (IoU 0.1 to 0.5)',
    'duplicate': 'on an object of its class that a better detection has taken',
    'background': 'where there is no object (IoU below 0.1)',
    'missed': 'object that is neither found nor fixed with the first two kinds'}
_MISTAKE_HEAD = (Column('kind', is_text=True), Column('count', 'at the score threshold'),
            Column('AP@0.5 gain', 'in points of 100, if this kind alone were fixed'),
            Column('what it is', is_text=True))


def mistake_tables(analysis: Analysis) -> Markup:
    """Build one table for all classes, which is shown first, and one for each."""
    return joined([scoped(label, _by_kind(analysis, label)) for label in analysis.scopes])


def _by_kind(analysis: Analysis, label: int) -> Markup:
    by_name = {kind.name: kind for kind in analysis.mistakes}
    kinds = [by_name[name] for name in _MEANING]
    counts = [kind.counts[label] if label else kind.count for kind in kinds]
    gains = [100 * (kind.ap_gains[label] if label else kind.map_gain) for kind in kinds]
    most = max(*counts, 1)
    largest = max(1.0, *(gain for gain in gains if np.isfinite(gain)), 1.0)
    return table(_MISTAKE_HEAD, [
        [Cell(kind.name, kind.name), share(count, most, 0), share(gain, largest, 1),
         Cell(_MEANING[kind.name], '')]
        for kind, count, gain in zip(kinds, counts, gains, strict=True)])


_FIGURES = (Column('objects'), Column('found'), Column('recall'))
_IN_WORDS = {'small': f'small, below {SMALL_BELOW_PX} px',
             'medium': f'medium, {SMALL_BELOW_PX} to {LARGE_FROM_PX} px',
             'large': f'large, from {LARGE_FROM_PX} px'}


def size_tables(analysis: Analysis) -> Markup:
    """Build both tables for all classes, shown first, and for each, and COCO's AP by size."""
    tables = [scoped(label, element(
        'div', _by_size('side in the original image', scope.sizes_px),
        _by_size('side as a share of the image’s', scope.sizes_share), class_='pair'))
        for label, scope in analysis.scopes.items()]
    return joined([*tables, scoped(0, _coco_by_size(analysis))])


def _by_size(title: str, buckets: tuple[SizeBucket, ...]) -> Markup:
    return table([Column(title, is_text=True), *_FIGURES], [
        [Cell(_IN_WORDS.get(bucket.name, bucket.name), bucket.name), count(bucket.objects),
         count(bucket.found), share(bucket.recall)] for bucket in buckets])


def _coco_by_size(analysis: Analysis) -> Markup:
    coco = analysis.coco
    columns = [Column('COCO, IoU 0.5–0.95', is_text=True), Column('all'), Column('small'),
               Column('medium'), Column('large')]
    return table(columns, [
        [Cell('AP', 'AP'), *map(number, (coco.ap, coco.ap_small, coco.ap_medium, coco.ap_large))],
        [Cell('AR, up to 100 detections', 'AR'),
         *map(number, (coco.ar_100, coco.ar_small, coco.ar_medium, coco.ar_large))]])
