"""The charts of the report; each can be limited to a class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.metrics import PrecisionRecall
from mbv2ssd_ros.evaluation.analysis import Analysis, curve_rows, ScopeFigures
from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup
from mbv2ssd_ros.evaluation.report.page import scoped
from mbv2ssd_ros.evaluation.report.plot import count_axis, figure, Plot, unit_axis
from mbv2ssd_ros.evaluation.report.tables import number
from mbv2ssd_ros.evaluation.scores import BINS

_EDGES = np.arange(BINS + 1) / BINS
_RECALLS = np.linspace(0, 1, 201)


def curves_chart(analysis: Analysis) -> Markup:
    """Draw precision over recall of every class, and their mean."""
    plot = Plot(unit_axis('recall'), unit_axis('precision'))
    curves = {label: scope.curve for label, scope in analysis.classes.items()
              if scope.curve.num_objects}
    marks = [plot.line(*_drawn(curve), data_label=label, class_='curve',
                       title=f'{analysis.name(label)}: AP@0.5 '
                             f'{number(curve.average_precision).text}')
             for label, curve in curves.items()]
    if curves:
        mean = np.mean([_precision_at(curve) for curve in curves.values()], axis=0)
        marks.append(plot.line(_RECALLS, mean, f'mean: mAP@0.5 {number(analysis.map_50).text}',
                               class_='curve mean'))
    marks += [_points(plot, label, scope) for label, scope in analysis.classes.items()]
    return figure('Precision over recall', plot.svg(
        marks, 'Precision over recall of each class', id='curves-chart'), [
        _key('mean', 'mean of the classes'), _key('curve', 'a class'),
        _key('dot', 'at the score threshold'), _key('dot best', 'at the best F1')])


def _drawn(curve: PrecisionRecall) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and monotone precision at some points of a curve, starting at recall 0."""
    rows = curve_rows(curve, 120)
    monotone = np.maximum.accumulate(curve.precision[::-1])[::-1]
    start = rows[:1]  # none where nothing was detected
    return (np.append(0 * curve.recall[start], curve.recall[rows]),
            np.append(monotone[start], monotone[rows]))


def _precision_at(curve: PrecisionRecall) -> NDArray[np.float64]:
    """Monotone precision at each of _RECALLS; 0 where the curve does not reach."""
    monotone = np.maximum.accumulate(np.append(curve.precision, 0)[::-1])[::-1]
    return np.asarray(monotone[np.searchsorted(curve.recall, _RECALLS - 1e-9)])


def _points(plot: Plot, label: int, scope: ScopeFigures) -> Markup:
    """Operating points, shown while the class is selected."""
    marks = []
    for point, kind in ((scope.chosen, 'dot'), (scope.best, 'dot best')):
        if point and scope.curve.num_objects and np.isfinite(point.precision):
            marks.append(plot.dot(
                point.recall, point.precision, f'scores above {point.score_threshold:.3f}: '
                f'precision {point.precision:.3f}, recall {point.recall:.3f}', class_=kind))
    return element('g', marks, data_scope=label, hidden=True)


def threshold_chart(analysis: Analysis) -> Markup:
    """Draw precision, recall and F1 over the score threshold."""
    lowest = analysis.subject.curve_threshold
    svgs = _for_each_scope(analysis, lambda scope: _threshold_svg(scope, lowest))
    return figure('Effect of the score threshold', svgs, [
        _key('first', 'precision'), _key('second', 'recall'), _key('third', 'F1'),
        _key('rule', 'score threshold'), _key('rule best', 'best F1')])


def _threshold_svg(scope: ScopeFigures, lowest: float) -> Markup:
    plot, curve = Plot(unit_axis('score threshold'), unit_axis('share')), scope.curve
    thresholds = np.linspace(lowest, 1, 99)
    kept = np.searchsorted(-curve.scores, -thresholds, side='left')  # scores above it
    correct = np.append(0, np.cumsum(curve.correct))[kept]
    with np.errstate(invalid='ignore', divide='ignore'):
        precision, recall = correct / kept, correct / np.full_like(kept, curve.num_objects)
        f1 = 2 * correct / (kept + curve.num_objects)
    marks = [plot.rule(scope.chosen.score_threshold,
                       f'score threshold {scope.chosen.score_threshold:g}', class_='rule')]
    if scope.best:
        marks.append(plot.rule(
            scope.best.score_threshold, f'best F1 {scope.best.f1:.3f} at a score threshold of '
            f'{scope.best.score_threshold:.3f}', class_='rule best'))
    marks += [plot.line(thresholds, values, class_=f'series {place}') for values, place in (
        (precision, 'first'), (recall, 'second'), (f1, 'third'))]
    return plot.svg(marks, 'Precision, recall and F1 over the score threshold')


def score_chart(analysis: Analysis) -> Markup:
    """Draw the numbers of right and false detections over the score."""
    return figure('Detections by score', _for_each_scope(analysis, _score_svg), [
        _key('first', 'right'), _key('second', 'false'),
        element('span', 'the axis of counts is logarithmic')])


def _score_svg(scope: ScopeFigures) -> Markup:
    scores = scope.scores
    plot = Plot(unit_axis('score'), count_axis(
        'detections', float(max(scores.correct.max(), scores.false.max()))))
    return plot.svg([plot.steps(_EDGES, scores.correct, class_='series first'),
                     plot.steps(_EDGES, scores.false, class_='series second')],
                    'Right and false detections by score')


def calibration_chart(analysis: Analysis) -> Markup:
    """Draw the share of right detections over their score."""
    return figure('Calibration', _for_each_scope(analysis, _calibration_svg), [
        _key('first', 'share that is right'), _key('rule', 'a score that is a probability')])


def _calibration_svg(scope: ScopeFigures) -> Markup:
    plot, scores = Plot(unit_axis('score'), unit_axis('share that is right')), scope.scores
    marks = [plot.line([0, 1], [0, 1], class_='rule')]
    known = np.flatnonzero(np.isfinite(scores.share_correct))
    marks.append(plot.line(scores.mean_scores[known], scores.share_correct[known],
                           class_='series first'))
    marks += [plot.dot(scores.mean_scores[k], scores.share_correct[k],
                       f'{scores.correct[k]:,} of {scores.correct[k] + scores.false[k]:,} '
                       f'detections of score {scores.mean_scores[k]:.2f}', 3, class_='dot')
              for k in known]
    return plot.svg(marks, 'Share of right detections over their score')


def _for_each_scope(analysis: Analysis, draw: Callable[[ScopeFigures], Markup]) -> Markup:
    return joined(scoped(label, draw(scope)) for label, scope in analysis.scopes.items())


def _key(kind: str, text: str) -> Markup:
    return element('span', element('i', class_=f'key {kind}'), text)
