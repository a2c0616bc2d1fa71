"""Models side by side: figures that are medians over rounds, as a table, JSON and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mbv2ssd_ros.core.errors import ConfigError, missing_package

# infer, detect or end_to_end; see compare_models
STAGES = ('infer', 'detect', 'end_to_end')
_CONSTANT_OPS = ('DequantizeLinear', 'Cast', 'QuantizeLinear')
_WEIGHTED = ('Conv', 'Gemm', 'MatMul', 'ConvTranspose')


@dataclass
class Rounds:
    """Measurements of one model with one backend, round by round."""

    times_ms: dict[str, list[list[float]]] = field(
        default_factory=lambda: {stage: [] for stage in STAGES})
    fps: list[float] = field(default_factory=list)
    rss_mb: float = 0.0

    def spread(self, stage: str) -> dict[str, float] | None:
        """
        Return p50 and p95 in ms, medians over the rounds; None where it was not measured.

        One bad second of the machine thus counts once.
        """
        rounds = [times for times in self.times_ms[stage] if times]
        if not rounds:
            return None
        return {f'p{share}': round(float(np.median(
            [np.percentile(times, share) for times in rounds])), 3) for share in (50, 95)}

    def relative_to(self, other: Rounds, stage: str) -> float | None:
        """
        Return the median over rounds of our p50 divided by the other's; None if not measured.

        Both were measured in the same rounds, so both had the same machine.
        """
        pairs = [(mine, theirs) for mine, theirs
                 in zip(self.times_ms[stage], other.times_ms[stage], strict=True)
                 if mine and theirs]
        if not pairs:
            return None
        return round(float(np.median(
            [np.median(mine) / np.median(theirs) for mine, theirs in pairs])), 4)


def row(described: Mapping[str, Any], rounds: Rounds, first: Rounds) -> dict[str, Any]:
    """Put the figures of a model into a row of the table, for JSON; `first` is the reference."""
    return {
        **described, **{f'{stage}_ms': rounds.spread(stage) for stage in STAGES},
        'fps': round(float(np.median(rounds.fps)), 1) if rounds.fps else None,
        'rss_mb': round(rounds.rss_mb, 1) if rounds.rss_mb else None,
        'infer_relative_to_first': rounds.relative_to(first, 'infer')}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as lines; a column without a figure in any row is left out."""
    columns = [
        ('model', [str(r['model']) for r in rows]),
        ('backend', [str(r['backend']) for r in rows]),
        ('precision', [str(r.get('precision') or '-') for r in rows]),
        ('input', ['x'.join(map(str, reversed(r['input_size_hw']))) if r.get('input_size_hw')
                   else '-' for r in rows]),
        ('MB', [_number(r.get('size_mb'), 1) for r in rows]),
        ('M par.', [_number(r.get('parameters'), 2, 1e-6) for r in rows]),
        ('mAP@0.5', [_number(r.get('map_50'), 2, 100) for r in rows]),
        *((f'{stage.replace("_", " ")} {share}',
           [_number((r.get(f'{stage}_ms') or {}).get(share), 2) for r in rows])
          for stage in STAGES for share in ('p50', 'p95')),
        ('x first', [_number(r.get('infer_relative_to_first'), 2) for r in rows]),
        ('fps', [_number(r.get('fps'), 1) for r in rows]),
        ('RSS MB', [_number(r.get('rss_mb'), 0) for r in rows])]
    shown = [(title, cells) for title, cells in columns if set(cells) != {'-'}]
    padded = []
    for index, (title, cells) in enumerate(shown):
        width = max(len(title), *map(len, cells))
        padded.append([cell.rjust(width) if index > 1 else cell.ljust(width)
                       for cell in (title, *cells)])
    lines = ['  '.join(cells).rstrip() for cells in zip(*padded)]
    for number, found in enumerate(rows, start=1):
        if found.get('error'):
            lines[number] = f'{found["model"]}  {found["backend"]}  {found["error"]}'
    return '\n'.join(lines)


def parameter_count(path: Path) -> int | None:
    """
    Count the weights and biases of a network's layers; None without the package onnx.

    Quantised ones count, prior boxes and scales do not.
    """
    try:
        import onnx
    except ImportError:
        return None
    graph = onnx.load(str(path)).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    origin = {node.output[0]: node.input[0] for node in graph.node
              if node.op_type in _CONSTANT_OPS}
    counted = set()
    for node in graph.node:
        for name in node.input if node.op_type in _WEIGHTED else ():
            while name not in sizes and name in origin:
                name = origin[name]
            if name in sizes:
                counted.add(name)
    return sum(sizes[name] for name in counted)


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """
    Draw the times of all models, and mAP against time where both are known, as PNG.

    Raises ConfigError when matplotlib is not installed or the file cannot be written.
    """
    figure_class, canvas_class = matplotlib_classes()
    scored = [found for found in rows if found.get('map_50') is not None]
    figure = figure_class(figsize=(10 if scored else 6, 1.5 + 0.7 * max(len(rows), 3)),
                          layout='constrained')
    canvas_class(figure)
    axes = figure.subplots(1, 2 if scored else 1, squeeze=False)[0]
    _draw_bars(axes[0], rows)
    if scored:
        _draw_points(axes[1], scored)
    try:
        figure.savefig(path, dpi=120)
    except OSError as err:
        raise ConfigError(f'--plot {path}: cannot be written: {err.strerror}') from err


def matplotlib_classes() -> tuple[Any, Any]:
    """Import what needs no display and no global state; ConfigError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as err:
        raise missing_package('--plot', 'matplotlib', 'plot', err) from err
    return Figure, FigureCanvasAgg


def _draw_bars(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    stages = [stage for stage in STAGES if any(found.get(f'{stage}_ms') for found in rows)]
    height = 0.8 / len(stages)
    for offset, stage in enumerate(stages):
        spreads = [found[f'{stage}_ms'] or {'p50': 0.0, 'p95': 0.0} for found in rows]
        axes.barh([number + offset * height for number in range(len(rows))],
                  [spread['p50'] for spread in spreads], height=0.9 * height,
                  xerr=[[0.0] * len(rows),
                        [max(0.0, spread['p95'] - spread['p50']) for spread in spreads]],
                  label=stage.replace('_', ' '))
    axes.set_yticks([number + height * (len(stages) - 1) / 2 for number in range(len(rows))],
                    [_label(found) for found in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel='milliseconds: p50, whisker to p95')
    axes.legend(fontsize=8, loc='lower center', bbox_to_anchor=(0.5, 1.0), ncol=len(stages))


def _draw_points(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw mAP over the time of the last stage that was measured for all rows."""
    stage = next(stage for stage in reversed(STAGES)
                 if all(found.get(f'{stage}_ms') for found in rows))
    times_ms = [found[f'{stage}_ms']['p50'] for found in rows]
    for found, x in zip(rows, times_ms, strict=True):
        y = 100 * found['map_50']
        axes.plot(x, y, 'o')
        axes.annotate(_label(found), (x, y), textcoords='offset points', xytext=(5, 5),
                      fontsize=8)
    axes.margins(y=0.25)
    axes.set(xlabel=f'{stage.replace("_", " ")}, milliseconds, p50', ylabel='mAP@0.5, %',
             xlim=(0, 1.6 * max(times_ms)))  # room for the name next to the slowest


def _label(found: Mapping[str, Any]) -> str:
    return f'{found["model"]}\n{found["backend"]}, {found["precision"]}'


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return '-' if value is None else f'{factor * value:.{digits}f}'
