"""The report of a bag: the detector's report, with the frames and their latency."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.report.detector_report import sections
from mbv2ssd_ros.evaluation.report.headline import headline
from mbv2ssd_ros.evaluation.report.markup import element, Markup
from mbv2ssd_ros.evaluation.report.page import page, Section
from mbv2ssd_ros.evaluation.report.pictures import ImageOf
from mbv2ssd_ros.evaluation.report.plot import Axis, count_axis, figure, Plot
from mbv2ssd_ros.evaluation.report.tables import Cell, Column, count, number, table
from mbv2ssd_ros.evaluation.runs.evaluation import BagEvaluation, stage_percentiles, TOTAL
from mbv2ssd_ros.evaluation.runs.run import latency_table

_BINS, _MAX_POINTS = 40, 400


def bag_report(evaluation: BagEvaluation, image_of: ImageOf) -> str:
    """Build the page, which needs no other file."""
    subject, analysis = evaluation.subject, evaluation.analysis
    heading = headline(analysis) if analysis else element(
        'div', element('p', 'Detector on a recording', class_='kicker'),
        element('h1', f'{subject.model} on {subject.split}'),
        element('p', f'{len(evaluation.records):,} frames; no ground truth, so nothing is '
                f'scored. Detected above a score of {subject.score_threshold:g}: ' + (', '.join(
                    f'{count:,} {name}' for name, count in evaluation.detected().items())
                    or 'nothing') + '.', class_='note'))
    if evaluation.incomplete_because:
        heading = element('div', heading, element(
            'p', element('b', 'Incomplete: '), evaluation.incomplete_because, class_='note'))
    parts = [_frames_section(evaluation)]
    if evaluation.latency():
        parts.append(_latency_section(evaluation))
    if analysis:
        parts = [*sections(analysis, image_of), *parts]
    return page(f'{subject.model} on {subject.split}', heading, parts,
                subject.class_names if analysis else ())


def _frames_section(evaluation: BagEvaluation) -> Section:
    reasons = sorted({record.reason for record in evaluation.records if record.reason})
    columns = [Column('topic', is_text=True), Column('read'), Column('answered'),
               Column('scored', 'answered, and with an annotation'),
               *(Column(reason.replace('_', ' ')) for reason in reasons)]
    rows = [_topic_row(evaluation, topic, reasons) for topic in evaluation.topics]
    note = f'Of {evaluation.subject.split}.'
    if evaluation.pairing is not None and evaluation.annotated is not None:
        how = ('number' if evaluation.annotated.by_index
               else f'stamp, within {evaluation.tolerance_ms:g} ms')
        note += (f' Frames and annotations are paired by {how}: '
                 f'{len(evaluation.pairing.pairs):,} pairs, '
                 f'{len(evaluation.pairing.unpaired_first):,} frames without annotation, '
                 f'{len(evaluation.pairing.unpaired_second):,} annotations without frame; '
                 'metrics.json lists them.')
    return Section('frames', 'Frames', note, table(columns, rows, id='frames-table'))


def _topic_row(evaluation: BagEvaluation, topic: str, reasons: Sequence[str]) -> list[Cell]:
    records = [record for record in evaluation.records if record.topic == topic]
    scored = sum(evaluation.records[index].topic == topic for index in evaluation.scored)
    return [Cell(topic, topic), count(len(records)),
            count(sum(record.detections is not None for record in records)), count(scored),
            *(count(sum(record.reason == reason for record in records)) for reason in reasons)]


def _latency_section(evaluation: BagEvaluation) -> Section:
    times_ms = latency_table(evaluation.records)
    timeline = _timeline(evaluation, np.nansum(times_ms, axis=1))
    return latency_section(times_ms, figure('Latency over the recording', timeline))


def latency_section(times_ms: NDArray[np.float64], neighbour: Markup | None = None) -> Section:
    """Show times_ms, (F, S) of STAGES, F at least 1; neighbour goes next to the histogram."""
    rows = [[Cell(stage, stage), number(p.p50_ms, 2), number(p.p95_ms, 2), number(p.p99_ms, 2)]
            for stage, p in stage_percentiles(times_ms).items()]
    columns = (Column('stage', is_text=True), Column('p50'), Column('p95'), Column('p99'))
    histogram = figure('Frames by latency', _histogram(np.nansum(times_ms, axis=1)))
    return Section(
        'latency', 'Latency', 'Milliseconds, one frame at a time, on the machine of this '
        f'evaluation; {TOTAL} is the sum of the stages. “read” is the time to read the bag, which '
        'a live camera does not take.', element('div', table(columns, rows, id='latency-table'),
                             element('div', histogram, neighbour, class_='pair')))


def _histogram(totals: NDArray[np.float64]) -> Markup:
    axis = linear_axis('ms', float(np.percentile(totals, 99)))
    counts, edges = np.histogram(np.minimum(totals, axis.upper), _BINS, (0, axis.upper))
    plot = Plot(axis, count_axis('frames', float(counts.max())))
    return plot.svg([plot.steps(edges, counts, class_='series first')],
                    'Number of frames by their latency', id='latency-histogram')


def _timeline(evaluation: BagEvaluation, totals: NDArray[np.float64]) -> Markup:
    log_ns = [record.log_ns for record in evaluation.records if record.times_ms]
    seconds = (np.array(log_ns, np.float64) - log_ns[0]) / 1e9
    # the worst of each group, so that no peak is lost
    groups = np.array_split(np.arange(len(totals)), min(_MAX_POINTS, len(totals)))
    xs = [float(seconds[group[0]]) for group in groups]
    ys = [float(totals[group].max()) for group in groups]
    plot = Plot(linear_axis('s since the first frame', max(float(seconds.max()), 1e-3)),
                linear_axis('ms', max(ys)))
    return plot.svg([plot.line(xs, ys, class_='series first')],
                    'Latency over the time of recording', id='latency-timeline')


def linear_axis(label: str, largest: float) -> Axis:
    """Make an axis from 0 to the first round tick that is not below the largest value."""
    largest = max(largest, 1e-6)
    step = 10.0 ** math.floor(math.log10(largest))
    step *= next(factor for factor in (0.2, 0.5, 1, 2) if largest / (step * factor) <= 6)
    ticks = math.ceil(largest / step - 1e-9)
    return Axis(label, 0, ticks * step, tuple(round(k * step, 9) for k in range(ticks + 1)))
