"""The top of the report: model, data and the main figures."""

from __future__ import annotations

import re

import numpy as np

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup
from mbv2ssd_ros.evaluation.report.page import scoped
from mbv2ssd_ros.evaluation.report.tables import number


def headline(analysis: Analysis) -> Markup:
    """Build title, data and figures, each with its metric and split."""
    subject, objects = analysis.subject, analysis.overall.curve.num_objects
    found = analysis.matches.objects
    difficult = int(found.difficult.sum())
    classes = len(np.unique(found.labels[~found.difficult]))
    return element(
        'div', element('p', 'Detector evaluation', class_='kicker'),
        element('h1', _breakable(subject.model), element('span', ' on '),
                _breakable(subject.split)),
        element('p', f'{len(analysis.results):,} images, {objects:,} objects of '
                f'{classes} of {len(subject.class_names)} classes, {difficult:,} difficult ones '
                'ignored. '
                f'Detections scoring above {subject.curve_threshold:g}.', class_='note'),
        [scoped(label, _figures(analysis, label)) for label in analysis.scopes])


def _breakable(name: str) -> Markup:
    """Allow a long file name to wrap after / and _."""
    return joined(part for piece in re.split('(?<=[/_])', name)
                  for part in (element('wbr'), piece))


def _figures(analysis: Analysis, label: int) -> Markup:
    scope = analysis.scopes[label]
    coco, split = analysis.coco, analysis.subject.split
    of = analysis.name(label) if label else None
    mean = 'AP' if label else 'mAP'
    chosen = f'scores above {scope.chosen.score_threshold:g}'
    cards = [
        (f'{mean}@0.5', scope.curve.average_precision if label else analysis.map_50, 'VOC, area'),
        (f'{mean}@0.5', scope.curve.average_precision_11point if label
         else analysis.map_50_11point, 'VOC, 11 points'),
        (f'{mean} 0.5–0.95', coco.ap_of_class[label] if label else coco.ap, 'COCO'),
        ('Precision', scope.chosen.precision, chosen), ('Recall', scope.chosen.recall, chosen),
        ('F1', scope.chosen.f1, chosen)]
    if scope.best:
        cards.append(('Best F1', scope.best.f1, f'scores above {scope.best.score_threshold:.3f}'))
    return element('dl', [_card(name, value, note, split, of) for name, value, note in cards],
                   class_='figures')


def _card(name: str, value: float, note: str, split: str, of: str | None) -> Markup:
    return element(
        'div', element('dt', name, element('span', f' {of}') if of else None),
        element('dd', number(value).text, class_='value'), element('dd', note),
        element('dd', split))
