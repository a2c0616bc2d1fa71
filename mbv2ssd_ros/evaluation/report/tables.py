"""Tables: numbers aligned, bars behind shares, columns that sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from mbv2ssd_ros.evaluation.report.markup import Child, element, Markup

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

    Args:
        last_rows: sums and means, which are not sorted.
        sortable: a click on a heading sorts by its column.
        **attributes: of the table.
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
    text = cell.text if bar is None else element('span', cell.text, class_='beside')
    return element('th' if column.is_text else 'td', bar, text,
                   data_value=cell.value, scope='row' if column.is_text else None,
                   class_='text' if column.is_text else None)
