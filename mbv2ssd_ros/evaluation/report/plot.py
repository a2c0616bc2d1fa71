"""Line charts as inline SVG; their colours and fonts are those of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbv2ssd_ros.evaluation.report.markup import element, Markup

WIDTH, HEIGHT = 400, 290  # of a chart in its own units; the page scales it
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 42


@dataclass(frozen=True)
class Axis:
    """One side of a chart."""

    label: str
    lower: float
    upper: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def places(self, values: ArrayLike) -> NDArray[np.float64]:
        """Map values to [0, 1] along the axis; those outside are moved to its ends."""
        clipped = np.clip(np.asarray(values, np.float64), self.lower, self.upper)
        if self.logarithmic:
            return np.log(clipped / self.lower) / math.log(self.upper / self.lower)
        return (clipped - self.lower) / (self.upper - self.lower)


def unit_axis(label: str) -> Axis:
    """Make an axis from 0 to 1."""
    return Axis(label, 0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1))


def count_axis(label: str, largest: float) -> Axis:
    """Make a logarithmic axis for counts, from below 1, where 0 is drawn, to a power of ten."""
    decades = max(1, math.ceil(math.log10(max(largest, 1))))
    return Axis(label, 0.6, 10.0 ** decades, tuple(10.0 ** k for k in range(decades + 1)), True)


class Plot:
    """Two axes, and the marks that can be drawn between them."""

    def __init__(self, x_axis: Axis, y_axis: Axis) -> None:
        self._x_axis, self._y_axis = x_axis, y_axis

    def line(self, xs: ArrayLike, ys: ArrayLike, title: str | None = None, **attributes: Any
             ) -> Markup:
        """Draw a line, interrupted where y is nan; the title is shown under the pointer."""
        return element('path', element('title', title) if title else None,
                       d=self._path(np.asarray(xs, float), np.asarray(ys, float)),
                       fill='none', **attributes)

    def steps(self, edges: ArrayLike, counts: ArrayLike, **attributes: Any) -> Markup:
        """Draw the outline of a histogram with N + 1 edges and N counts."""
        return self.line(np.repeat(np.asarray(edges, float), 2)[1:-1],
                         np.repeat(np.asarray(counts, float), 2), **attributes)

    def dot(self, x: float, y: float, title: str, radius: float = 4, **attributes: Any) -> Markup:
        """Draw a point; the radius is in units of the chart."""
        return element('circle', element('title', title), cx=_number(self._across([x])[0]),
                       cy=_number(self._down([y])[0]), r=radius, **attributes)

    def rule(self, x: float, title: str, **attributes: Any) -> Markup:
        """Draw a line from bottom to top."""
        at = _number(self._across([x])[0])
        return element('line', element('title', title), x1=at, x2=at, y1=_TOP,
                       y2=HEIGHT - _BOTTOM, **attributes)

    def svg(self, marks: Sequence[Markup], label: str, **attributes: Any) -> Markup:
        """Combine axes and marks, in the order of drawing; the label is for screen readers."""
        return element('svg', self._x_ticks(), self._y_ticks(), marks, class_='chart',
                       viewBox=f'0 0 {WIDTH} {HEIGHT}', role='img', aria_label=label,
                       **attributes)

    def _across(self, xs: ArrayLike) -> NDArray[np.float64]:
        return _LEFT + self._x_axis.places(xs) * (WIDTH - _LEFT - _RIGHT)

    def _down(self, ys: ArrayLike) -> NDArray[np.float64]:
        return HEIGHT - _BOTTOM - self._y_axis.places(ys) * (HEIGHT - _TOP - _BOTTOM)

    def _path(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> str:
        drawn = np.isfinite(xs) & np.isfinite(ys)
        across, down = self._across(np.nan_to_num(xs)), self._down(np.nan_to_num(ys))
        commands, pen_down = [], False
        for x, y, here in zip(across, down, drawn, strict=True):
            if here:
                commands.append(f'{"L" if pen_down else "M"}{_number(x)} {_number(y)}')
            pen_down = bool(here)
        return ''.join(commands)

    def _x_ticks(self) -> Markup:
        bottom = HEIGHT - _BOTTOM
        ticks = [element('text', _tick(value), x=_number(x), y=bottom + 15, class_='tick middle')
                 for value, x in zip(self._x_axis.ticks, self._across(self._x_axis.ticks))]
        return element(
            'g', element('line', x1=_LEFT, x2=WIDTH - _RIGHT, y1=bottom, y2=bottom,
                         class_='axis'),
            ticks, element('text', self._x_axis.label, x=(_LEFT + WIDTH - _RIGHT) / 2,
                           y=HEIGHT - 8, class_='axis-label middle'))

    def _y_ticks(self) -> Markup:
        ticks = []
        for value, y in zip(self._y_axis.ticks, self._down(self._y_axis.ticks)):
            ticks += [element('line', x1=_LEFT, x2=WIDTH - _RIGHT, y1=_number(y), y2=_number(y),
                              class_='grid'),
                      element('text', _tick(value), x=_LEFT - 6, y=_number(y + 3.5),
                              class_='tick end')]
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        return element('g', ticks, element(
            'text', self._y_axis.label, x=11, y=middle, class_='axis-label middle',
            transform=f'rotate(-90 11 {middle})'))


def figure(title: str, chart: Markup, key: Sequence[Markup] = ()) -> Markup:
    """Put a heading above a chart and its key below."""
    return element('figure', element('h3', title), chart,
                   element('figcaption', key) if key else None)


def _number(value: float) -> str:
    return f'{value:.1f}'.removesuffix('.0')


def _tick(value: float) -> str:
    for unit, letter in ((1e6, 'M'), (1e3, 'k')):
        if value >= unit:
            return f'{value / unit:g}{letter}'
    return f'{value:g}'
