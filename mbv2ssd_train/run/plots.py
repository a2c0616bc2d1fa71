"""Plots of a run, drawn from its metrics.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_train.plotting import new_figure, save_figure
from mbv2ssd_train.run.metrics_file import MetricsFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEGIN, TRAIN, EVALUATION = 'begin', 'train', 'evaluation'  # kinds of lines in metrics.jsonl
_SIZE_INCHES = (7.0, 4.0)
_SMOOTH_OVER = 1 / 30  # of the points, for the bold line

_Series = dict[str, list[tuple[float, float]]]  # (epoch, value) of each value


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
_VALIDATION = Plot('', '', EVALUATION, 'map_50', 'mAP@0.5')  # beside the loss
_RESULTS = ('loss', 'map', 'learning_rate', 'classes')


def draw_plots(metrics: Path, folder: Path) -> list[Path]:
    """
    Draw all plots with measured values, and the main ones as results.png; return the PNG files.

    Raises DataError where metrics.jsonl is broken, ModuleNotFoundError without matplotlib.
    """
    lines = MetricsFile(metrics).read()
    run = metrics.resolve().parent.name
    drawings: dict[str, Callable[[Axes], None]] = {}
    for plot in PLOTS:
        if series := _series(lines, plot):
            beside = _series(lines, _VALIDATION) if plot.name == 'loss' else {}
            drawings[plot.name] = partial(_draw_series, plot, series, beside)
    height = _SIZE_INCHES[1]
    if best := _best_evaluation(lines):
        drawings['classes'] = partial(_draw_classes, best)
        height = max(height, 0.2 * len(best['ap_50']) + 1)  # COCO has 80 classes
    written = []
    for name, draw in drawings.items():
        figure, axes = new_figure(
            (_SIZE_INCHES[0], height if name == 'classes' else _SIZE_INCHES[1]), 'tight')
        draw(axes[0, 0])
        figure.suptitle(run, fontsize=9)
        written.append(save_figure(figure, folder / f'{name}.png'))
    main = [drawings[name] for name in _RESULTS if name in drawings]
    if 'map' in drawings:
        figure, axes = new_figure((2 * _SIZE_INCHES[0], _SIZE_INCHES[1] + height), 'tight', 2, 2)
        for place, draw in zip(axes.flat, main):
            draw(place)
        for place in axes.flat[len(main):]:
            place.remove()
        figure.suptitle(run)
        written.append(save_figure(figure, folder / 'results.png'))
    return written


def _series(lines: Iterable[dict[str, Any]], plot: Plot) -> _Series:
    """Collect (epoch, value) of every value of a plot."""
    series: _Series = {}
    for line in lines:
        if line.get('kind') != plot.kind or not _is_number(line.get('epoch')):
            continue
        for key, value in line.items():
            if _is_number(value) and re.fullmatch(plot.keys, key):
                series.setdefault(key, []).append((line['epoch'], value))
    # such as the teacher's part of a loss without a teacher
    return {key: points for key, points in series.items()
            if len(series) == 1 or not plot.smooth or any(value for _, value in points)}


def _draw_series(plot: Plot, series: _Series, beside: _Series, axes: Axes) -> None:
    tops = []
    for number, (name, points) in enumerate(series.items()):
        epochs, values = zip(*points)
        window = max(round(len(values) * _SMOOTH_OVER), 1) if plot.smooth else 1
        colour = f'C{number % 10}'
        if window > 1:
            axes.plot(epochs, values, color=colour, alpha=0.25, linewidth=0.8)
        smooth = running_mean(values, window)
        axes.plot(epochs, smooth, color=colour, label=name,
                  marker='o' if len(values) <= 30 else None, markersize=3)
        tops.append(smooth[window if window > 1 else 0:].max())
    averaged = f', mean over {window} points' if window > 1 else ''
    axes.set(xlabel='epoch', ylabel=plot.y_label, title=f'{plot.title}{averaged}')
    if plot.y_range:
        axes.set_ylim(*plot.y_range)
    elif all(value >= 0 for points in series.values() for _, value in points):
        # from 0, so that a small change looks small; the peaks of the first steps may leave it
        axes.set_ylim(0, 1.1 * max(tops) or None)
    for name, points in beside.items():
        right = axes.twinx()
        axes.plot([], [], 'k.-', label=f'{name} on validation (right)')
        right.plot(*zip(*points), 'k.-', linewidth=1)
        right.set(ylim=(0, 1), ylabel=_VALIDATION.y_label)
    axes.legend()


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


def _draw_classes(line: dict[str, Any], axes: Axes) -> None:
    found = {name: ap for name, ap in line['ap_50'].items() if _is_number(ap)}
    names = sorted(found, key=found.__getitem__)
    axes.barh(names, [found[name] for name in names])
    axes.axvline(line['map_50'], color='black', linewidth=1,
                 label=f'mAP {line["map_50"]:.3f} on {line.get("split", "?")}')
    axes.set(xlim=(0, 1), xlabel='AP',
             title=f'AP at IoU 0.5 at epoch {line["epoch"]:g}, the best')
    axes.margins(y=0.01)
    axes.legend(loc='lower right')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
