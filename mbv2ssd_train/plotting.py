"""Figures of matplotlib, written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TYPE_CHECKING

from mbv2ssd_ros.core.durable import partial_of, put_in_place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110


def new_figure(size: tuple[float, float], layout: Literal['constrained', 'tight'],
               rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of a size in inches, and its axes (rows, columns) with a grid."""
    # The object interface: pyplot would keep every figure and may look for a display.
    from matplotlib.figure import Figure
    figure = Figure(figsize=size, dpi=_DPI, layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for part in axes.flat:
        part.set_axisbelow(True)
        part.grid(alpha=0.3)
    return figure, axes


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG and return its path; readers see either version whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(partial_of(path), format='png')
    put_in_place(partial_of(path), path)
    return path
