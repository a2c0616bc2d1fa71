"""Plots of a run, drawn from its metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_train.plotting import new_figure, save_figure
from mbv2ssd_train.run.metrics_file import MetricsFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEGIN, TRAIN, EVALUATION = 'begin', 'train', 'evaluation'  # kinds of lines in metrics.jsonl
_SIZE_INCHES = (7.0, 4.0)
_SMOOTH_OVER = 1 / 30  # of the points, for the bold line


@dataclass(frozen=True)
class Plot:
    """A plot over epochs of all values with matching names."""

    name: str  # of the file
    title: str
    kind: str  # of the lines with the values
    keys: str  # regular expression for the whole name of a value
    y_label: str
    y_range: tuple[float, float] | None = None  # free where None
    smooth: bool = False  # noisy values


PLOTS = (
    Plot('loss', 'Loss', TRAIN, r'(.*_)?loss', 'loss', smooth=True),
    Plot('learning_rate', 'Learning rate', TRAIN, r'learning_rate.*|.*_lr|lr', 'learning rate'),
    Plot('matching', 'Positive priors of an image', TRAIN,
         r'positives_(min|mean|max)|images_without_positives', 'number', smooth=True),
    Plot('mining', 'Positive and negative priors of a '
         'batch', TRAIN, r'positives|negatives', 'number',
         smooth=True),
    Plot('gradient', 'Gradient norm', TRAIN, r'grad(ient)?_norm.*', 'norm', smooth=True),
    Plot('throughput', 'Throughput', TRAIN, r'(images|steps)_per_s', 'per second',
         smooth=True),
    Plot('map', 'Mean average precision', EVALUATION, r'map(_.+)?', 'mAP', (0.0, 1.0)),
)


def draw_plots(metrics: Path, folder: Path) -> list[Path]:
    """
    Draw all plots with measured values; return the PNG files.

    Raises DataError where metrics.jsonl is broken, ModuleNotFoundError without matplotlib.
    """
    lines = MetricsFile(metrics).read()
    run = metrics.resolve().parent.name
    written = []
    for plot in PLOTS:
        if series := _series(lines, plot):
            figure = _draw_series(plot, series, run)
            written.append(save_figure(figure, folder / f'{plot.name}.png'))
    if best := _best_evaluation(lines):
        written.append(save_figure(_draw_classes(best, run), folder / 'classes.png'))
    return written


def _series(lines: Iterable[dict[str, Any]], plot: Plot) -> dict[str, list[tuple[float, float]]]:
    """Collect (epoch, value) of every value of a plot."""
    series: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        if line.get('kind') != plot.kind or not _is_number(line.get('epoch')):
            continue
        for key, value in line.items():
            if _is_number(value) and re.fullmatch(plot.keys, key):
                series.setdefault(key, []).append((line['epoch'], value))
    return series


def _draw_series(plot: Plot, series: dict[str, list[tuple[float, float]]], run: str) -> Figure:
    figure, axes = _empty_figure(f'{plot.title}: {run}')
    for number, (name, points) in enumerate(series.items()):
        epochs, values = zip(*points)
        window = max(round(len(values) * _SMOOTH_OVER), 1) if plot.smooth else 1
        colour = f'C{number % 10}'
        if window > 1:
            axes.plot(epochs, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(epochs, running_mean(values, window), color=colour, label=name,
                  marker='o' if len(values) <= 30 else None, markersize=3)
    axes.set(xlabel='epoch', ylabel=plot.y_label)
    if plot.y_range:
        axes.set_ylim(*plot.y_range)
    elif all(value >= 0 for points in series.values() for _, value in points):
        axes.set_ylim(bottom=0)  # so that a small change looks small
    axes.legend()
    return figure


def running_mean(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Average each of (N,) values with the window - 1 before it, fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    ends = np.arange(1, len(sums))
    begins = np.maximum(ends - window, 0)
    return (sums[ends] - sums[begins]) / (ends - begins)


def _best_evaluation(lines: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    found = [line for line in lines if line.get('kind') == EVALUATION
             and _is_number(line.get('map_50')) and isinstance(line.get('ap_50'), dict)]
    return max(found, key=lambda line: line['map_50'], default=None)


def _draw_classes(line: dict[str, Any], run: str) -> Figure:
    found = {name: ap for name, ap in line['ap_50'].items() if _is_number(ap)}
    names = sorted(found, key=found.__getitem__)
    height = max(_SIZE_INCHES[1], 0.2 * len(names) + 1)  # COCO has 80 classes
    figure, axes = _empty_figure(
        f'AP at IoU 0.5 at epoch {line["epoch"]:g}, the best: {run}', height)
    axes.barh(names, [found[name] for name in names])
    axes.axvline(line['map_50'], color='black', linewidth=1,
                 label=f'mAP {line["map_50"]:.3f} on {line.get("split", "?")}')
    axes.set(xlim=(0, 1), xlabel='AP')
    axes.margins(y=0.01)
    axes.legend(loc='lower right')
    return figure


def _empty_figure(title: str, height: float = _SIZE_INCHES[1]) -> tuple[Figure, Axes]:
    figure, axes = new_figure((_SIZE_INCHES[0], height), 'tight')
    axes[0, 0].set_title(title, fontsize=10)
    return figure, axes[0, 0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
