"""The report of an evaluation, section by section."""

from __future__ import annotations

from pathlib import Path

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.report.charts import (
    calibration_chart,
    curves_chart,
    score_chart,
    threshold_chart,
)
from mbv2ssd_ros.evaluation.report.headline import headline
from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup
from mbv2ssd_ros.evaluation.report.page import page, Section
from mbv2ssd_ros.evaluation.report.pictures import gallery, ImageOf
from mbv2ssd_ros.evaluation.report.tables import (
    class_table,
    confusion_table,
    mistake_tables,
    size_tables,
)
from mbv2ssd_ros.evaluation.worst import BADNESS

FILE_NAME = 'report.html'
_NOTES = {
    'classes': 'AP@0.5 is the area under the curve (VOC); AP 0.5–0.95 is COCO’s. '
               'Precision, recall and F1 count detections that score above {threshold}. Click a '
               'heading to sort, a class to select it.',
    'curves': 'The area under the curve of a class is its AP@0.5, that under the mean curve is '
              'mAP@0.5; precision is made monotone, as for AP. Click a curve to select its '
              'class.',
    'confusion': 'Objects by row, the class they were found as by column, at IoU 0.5 and scores '
                 'above {threshold}. Shades are shares of a row. The row “nothing there” has '
                 'false detections, duplicates included; the column “not found” has missed '
                 'objects. Difficult objects are ignored.',
    'mistakes': 'Each false detection has one kind, as in TIDE (arXiv:2008.08115). '
                'Counts are at scores above {threshold}; the gain is that of AP@0.5, in '
                'points of 100, if this kind alone were fixed over all scores. Gains do not '
                'add up.',
    'sizes': 'Share of objects found with scores above {threshold}. The side is that of a square '
             'of the same area.',
    'scores': 'All detections, also those below the score threshold. Where the share that is '
              'right is on the diagonal, a score can be read as a probability.',
    'images': f'Ranked by {BADNESS} of {{threshold}}: the last figure under each. Click one to '
              'enlarge it.'}


def write_report(folder: Path, analysis: Analysis, image_of: ImageOf) -> Path:
    """
    Write the page into a folder, which is made, and return its path; it needs no other file.

    image_of reads the worst images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(report(analysis, image_of), encoding='utf-8')
    return path


def report(analysis: Analysis, image_of: ImageOf) -> str:
    """Return the page as HTML."""
    subject = analysis.subject
    return page(f'{subject.model} on {subject.split}', headline(analysis),
                sections(analysis, image_of), subject.class_names)


def sections(analysis: Analysis, image_of: ImageOf) -> list[Section]:
    """Build the sections, for this report or as part of a larger one; each names its split."""
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
