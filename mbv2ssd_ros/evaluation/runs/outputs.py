"""The files of an evaluation: metrics.json, frames.csv, latency.csv, detections.mcap, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import csv
import io
import json
from pathlib import Path

import numpy as np

from mbv2ssd_ros.core.drawing import draw_detections
from mbv2ssd_ros.core.durable import write_whole
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.stamps import stamp_text
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.bags.writer import detections_bag
from mbv2ssd_ros.evaluation.frame_record import STAGES
from mbv2ssd_ros.evaluation.report.pictures import ImageOf
from mbv2ssd_ros.evaluation.runs.evaluation import BagEvaluation
from mbv2ssd_ros.evaluation.runs.pictures import GREY, pictures, reduced_pictures
from mbv2ssd_ros.evaluation.runs.report import bag_report
from mbv2ssd_ros.evaluation.worst import image_mistakes

METRICS, FRAMES, LATENCY, REPORT = 'metrics.json', 'frames.csv', 'latency.csv', 'report.html'


def write_outputs(folder: Path, evaluation: BagEvaluation, bag: Bag, annotated: bool) -> None:
    """
    Write everything into a folder that exists, each file whole or not at all.

    The open bag is read again for pictures. DataError: a file cannot be written.
    """
    write_text(folder / METRICS, json.dumps(evaluation.to_dict(), indent=1) + '\n')
    write_text(folder / FRAMES, _csv(_frame_rows(evaluation)))
    write_text(folder / LATENCY, _csv(_latency_rows(evaluation)))
    _write_detections(folder, evaluation, bag, annotated)
    write_text(folder / REPORT, bag_report(evaluation, _images(evaluation, bag)))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; DataError where that is impossible."""
    try:
        write_whole(path, text)
    except OSError as err:
        raise DataError(f'{path}: cannot be written: {err}') from err


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _frame_rows(evaluation: BagEvaluation) -> Iterable[Sequence[object]]:
    yield ('number', 'topic', 'index', 'stamp', 'status', 'detections', 'annotation', 'objects',
           'correct', 'false', 'missed', 'error')
    annotation, counts = _annotations(evaluation), _counts(evaluation)
    for index, record in enumerate(evaluation.records):
        found = len(evaluation.kept(record)) if record.detections is not None else ''
        yield (record.number, record.topic, record.index, stamp_text(record.stamp_ns),
               record.reason or 'answered', found, annotation.get(index, ''),
               *counts.get(index, ('', '', '', '')), record.error)


def _annotations(evaluation: BagEvaluation) -> dict[int, str]:
    if evaluation.pairing is None or evaluation.annotated is None:
        return {}
    return {frame: evaluation.annotated.frames[truth].name
            for frame, truth in evaluation.pairing.pairs}


def _counts(evaluation: BagEvaluation) -> dict[int, list[int]]:
    """Objects, correct, false and missed at the score threshold, by index of the record."""
    if evaluation.analysis is None:
        return {}
    matches, count = evaluation.analysis.matches, len(evaluation.scored)
    counted = matches.objects.images[~matches.objects.difficult]
    objects = np.bincount(counted, minlength=count)
    missed, false, _ = image_mistakes(matches, count, evaluation.subject.score_threshold)
    columns = np.stack([objects, objects - missed, false, missed], axis=1)
    return dict(zip(evaluation.scored, columns.tolist(), strict=True))


def _latency_rows(evaluation: BagEvaluation) -> Iterable[Sequence[object]]:
    yield ('number', 'topic', 'stamp', *(f'{stage}_ms' for stage in STAGES))
    for record in evaluation.records:
        if record.times_ms:
            yield (record.number, record.topic, stamp_text(record.stamp_ns),
                   *('' if np.isnan(t) else f'{t:.3f}' for t in record.times_ms))


def _write_detections(folder: Path, evaluation: BagEvaluation, bag: Bag, annotated: bool) -> None:
    names, topics = evaluation.subject.class_names, evaluation.topics
    processed = {record.number: record for record in evaluation.records
                 if record.detections is not None}
    with detections_bag(folder, topics, names, annotated) as writer:
        if not annotated:
            for record in processed.values():
                writer.write(record, evaluation.kept(record))
            return
        for number, pixels in pictures(bag, topics, processed):
            kept = evaluation.kept(processed[number])
            writer.write(processed[number], kept, draw_detections(
                pixels, kept.boxes_xyxy, kept.scores, [names[k - 1] for k in kept.labels]))


def _images(evaluation: BagEvaluation, bag: Bag) -> ImageOf:
    """Read the worst frames."""
    if evaluation.analysis is None:
        return lambda index: GREY
    numbers = {item.image: evaluation.records[evaluation.scored[item.image]].number
               for item in evaluation.analysis.worst}
    found = reduced_pictures(bag, evaluation.topics, numbers.values())
    return lambda index: found.get(numbers[index], GREY)
