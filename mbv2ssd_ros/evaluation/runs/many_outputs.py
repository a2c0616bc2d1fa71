"""The figures of several bags together: metrics.json and report.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.evaluation.analysis import analyse, Analysis, Subject
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.coco import none_for_nan
from mbv2ssd_ros.evaluation.frame_record import STAGES
from mbv2ssd_ros.evaluation.report.detector_report import sections
from mbv2ssd_ros.evaluation.report.headline import headline
from mbv2ssd_ros.evaluation.report.markup import element
from mbv2ssd_ros.evaluation.report.page import page, Section
from mbv2ssd_ros.evaluation.report.pictures import ImageOf
from mbv2ssd_ros.evaluation.report.tables import Cell, Column, count, number, table
from mbv2ssd_ros.evaluation.runs.baseline import truth_checksum
from mbv2ssd_ros.evaluation.runs.evaluation import latency_to_dict
from mbv2ssd_ros.evaluation.runs.many_bags import BagOutcome
from mbv2ssd_ros.evaluation.runs.outputs import METRICS, REPORT, write_text
from mbv2ssd_ros.evaluation.runs.pictures import GREY, reduced_pictures
from mbv2ssd_ros.evaluation.runs.report import latency_section


@dataclass(frozen=True)
class BagSet:
    """Several bags, evaluated."""

    outcomes: tuple[BagOutcome, ...]
    analysis: Analysis | None  # of all results together; None without ground truth

    @property
    def times_ms(self) -> NDArray[np.float64]:
        """(F, S) of STAGES, of all bags."""
        tables = [outcome.times_ms for outcome in self.outcomes if len(outcome.times_ms)]
        return np.concatenate([np.empty((0, len(STAGES))), *tables])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the keys of a single bag where they mean the same."""
        incomplete = [outcome for outcome in self.outcomes if outcome.problem]
        bags = {outcome.name: {
            'error': outcome.error, 'incomplete_because': outcome.incomplete_because,
            'frames': outcome.frames, 'map_50': none_for_nan(outcome.map_50)}
            for outcome in self.outcomes}
        sums = {key: sum(outcome.frames.get(key, 0) for outcome in self.outcomes)
                for key in ('read', 'answered', 'scored')}
        return {
            'complete': not incomplete,
            'incomplete_because': '; '.join(outcome.problem for outcome in incomplete),
            'inputs': {'bag': [outcome.name for outcome in self.outcomes]},
            'frames': {**sums, 'failed': self._failed()}, 'bags': bags,
            'accuracy': self.analysis.to_dict() if self.analysis else None,
            'truth_checksum': truth_checksum(self.analysis.results) if self.analysis else None,
            'latency': latency_to_dict(self.times_ms)}

    def _failed(self) -> dict[str, int]:
        return dict(sorted(sum((Counter(outcome.frames.get('failed', {}))
                                for outcome in self.outcomes), Counter()).items()))


def put_together(outcomes: Sequence[BagOutcome]) -> BagSet:
    """
    Score the frames of all bags together.

    DataError: not one bag could be evaluated. ConfigError: the bags have different classes.
    """
    usable = [outcome for outcome in outcomes if not outcome.error]
    if not usable:
        raise DataError('not one bag could be evaluated: '
                        + '; '.join(outcome.error for outcome in outcomes))
    first = usable[0]
    for outcome in usable:
        if outcome.class_names != first.class_names:
            raise ConfigError(
                f'{first.name} has the classes {", ".join(first.class_names)}, {outcome.name} '
                f'has {", ".join(outcome.class_names)}; name all of them with --classes')
    results = [replace(result, name=f'{outcome.name} {result.name}')
               for outcome in usable for result in outcome.results]
    if not results:
        return BagSet(tuple(outcomes), None)
    task = first.task
    subject = Subject(first.model, f'{len(usable)} bags', first.class_names,
                      task.curve_threshold if task.model else 0.0, task.score_threshold)
    return BagSet(tuple(outcomes), analyse(
        subject, [replace(result, index=index) for index, result in enumerate(results)]))


def write_set(folder: Path, bags: BagSet) -> None:
    """Write the files of all bags together, next to the folders of each; DataError: it fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataError(f'{folder}: cannot be made: {err}') from err
    write_text(folder / METRICS, json.dumps(bags.to_dict(), indent=1) + '\n')
    write_text(folder / REPORT, _report(bags))


def _report(bags: BagSet) -> str:
    analysis = bags.analysis
    parts = [_bags_section(bags)]
    if len(bags.times_ms):
        parts.append(latency_section(bags.times_ms))
    if analysis is None:
        title = f'{len(bags.outcomes)} bags'
        return page(title, element('h1', title), parts, ())
    parts = [*sections(analysis, _images(bags, analysis)), *parts]
    return page(f'{analysis.subject.model} on {analysis.subject.split}', headline(analysis), parts,
                analysis.subject.class_names)


def _bags_section(bags: BagSet) -> Section:
    columns = (Column('bag', is_text=True), Column('read'), Column('answered'), Column('scored'),
               Column('mAP@0.5'), Column('problem', is_text=True))
    rows = [[Cell(outcome.name, outcome.name),
             *(count(outcome.frames.get(key, 0)) for key in ('read', 'answered', 'scored')),
             number(outcome.map_50), Cell(outcome.problem, outcome.problem)]
            for outcome in bags.outcomes]
    return Section('bags', 'Bags', 'Each has its own report, in the folder of its name.',
                   table(columns, rows, sortable=True, id='bags-table'))


def _images(bags: BagSet, analysis: Analysis) -> ImageOf:
    """Read the worst frames from their bags."""
    places = [(outcome.name, frame) for outcome in bags.outcomes for frame in outcome.numbers]
    worst = {places[item.image]: item.image for item in analysis.worst}
    found: dict[int, NDArray[np.uint8]] = {}
    for outcome in bags.outcomes:
        if chosen := [frame for name, frame in worst if name == outcome.name]:
            with Bag(outcome.task.bag) as bag:
                pixels = reduced_pictures(bag, outcome.topics, chosen)
            found.update({worst[outcome.name, frame]: image for frame, image in pixels.items()})
    return lambda index: found.get(index, GREY)
