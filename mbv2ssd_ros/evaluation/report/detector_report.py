"""The report of an evaluation: what the page says, section by section."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.report.charts import (
    calibration_chart,
    curves_chart,
    score_chart,
    threshold_chart,
)
from mbv2ssd_ros.evaluation.report.class_table import class_table
from mbv2ssd_ros.evaluation.report.confusion_table import confusion_table
from mbv2ssd_ros.evaluation.report.headline import headline
from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup
from mbv2ssd_ros.evaluation.report.mistake_table import mistake_tables
from mbv2ssd_ros.evaluation.report.page import page, Section
from mbv2ssd_ros.evaluation.report.pictures import gallery
from mbv2ssd_ros.evaluation.report.size_tables import size_tables
from mbv2ssd_ros.evaluation.worst import BADNESS

FILE_NAME = 'report.html'
_NOTES = {
    'classes': 'AP@0.5 is the area under the curve, as VOC has it; AP 0.5–0.95 is COCO’s. '
               'Precision, recall and F1 count detections that score above {threshold}. Press a '
               'heading to sort, a class to choose it.',
    'curves': 'The area under the curve of a class is its AP@0.5, that under the mean curve is '
              'mAP@0.5; precision is made monotone, as AP counts it. Press a curve to choose its '
              'class.',
    'confusion': 'Objects by row, what they were found as by column, at IoU 0.5 and scores above '
                 '{threshold}. Shades are shares of a row. The row “nothing there” has '
                 'false detections, doubles included; the column “not found” has missed '
                 'objects. Difficult objects are left out.',
    'mistakes': 'Each false detection has one kind, in the manner of TIDE (arXiv:2008.08115). '
                'Counts are at scores above {threshold}; the gain is what AP@0.5 would win, in '
                'points of 100, if this kind alone were put right over all scores. Gains do not '
                'add up.',
    'sizes': 'Share of objects found with scores above {threshold}. The side is that of a square '
             'of the same area.',
    'scores': 'All detections, those below the score threshold too. Where the share that is '
              'right lies on the diagonal, a score can be read as a probability.',
    'images': f'Ranked by {BADNESS} of {{threshold}}: the last figure under each. Press one to '
              'enlarge it.'}
ImageOf = Callable[[int], NDArray[np.uint8]]  # index of a result -> (H, W, 3) BGR, any scale


def write_report(folder: Path, analysis: Analysis, image_of: ImageOf) -> Path:
    """
    Write the report.

    Args:
        folder: created where missing.
        analysis: of the evaluation.
        image_of: reads an image, to be shown among the worst.

    Returns:
        The path of the page; it needs no other file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(report(analysis, image_of), encoding='utf-8')
    return path


def report(analysis: Analysis, image_of: ImageOf) -> str:
    """
    Build the report.

    Args:
        analysis: of the evaluation.
        image_of: reads an image, to be shown among the worst.

    Returns:
        HTML.
    """
    subject = analysis.subject
    return page(f'{subject.model} on {subject.split}', headline(analysis),
                sections(analysis, image_of), subject.class_names)


def sections(analysis: Analysis, image_of: ImageOf) -> list[Section]:
    """
    Build the sections, for this report or as part of a larger one.

    Args:
        analysis: of the evaluation.
        image_of: reads an image, to be shown among the worst.

    Returns:
        The sections in their order; each says which split its figures are of.
    """
    bodies = {
        'classes': ('Classes', class_table(analysis)),
        'curves': ('Precision and recall',
                   _pair(curves_chart(analysis), threshold_chart(analysis))),
        'confusion': ('Confusion', confusion_table(analysis)),
        'mistakes': ('Kinds of mistakes', mistake_tables(analysis)),
        'sizes': ('Sizes of objects', size_tables(analysis)),
        'scores': ('Scores', _pair(score_chart(analysis), calibration_chart(analysis))),
        'images': ('Worst images', gallery(analysis, image_of))}
    threshold = f'{analysis.subject.score_threshold:g}'
    return [Section(anchor, title, f'On {analysis.subject.split}. '
                    + _NOTES[anchor].format(threshold=threshold), body)
            for anchor, (title, body) in bodies.items()]


def _pair(*figures: Markup) -> Markup:
    return element('div', joined(figures), class_='pair')
