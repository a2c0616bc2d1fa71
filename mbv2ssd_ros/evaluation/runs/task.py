"""One evaluation of one bag, from its paths to its files; can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import hashlib
from pathlib import Path
import time
from typing import Any
import zlib

import numpy as np

from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.core.detections import (
    CURVE_MAX_DETECTIONS,
    CURVE_THRESHOLD,
    DetectionSettings,
)
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.evaluation.analysis import Subject
from mbv2ssd_ros.evaluation.bags.frames import image_topics
from mbv2ssd_ros.evaluation.bags.message_types import IMAGE_KINDS
from mbv2ssd_ros.evaluation.bags.parts import METADATA, storage_of
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.coco import coco_library
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.runs.evaluation import BagEvaluation, evaluate, inference_s, SpentTime
from mbv2ssd_ros.evaluation.runs.journal import FILE_NAME as JOURNAL
from mbv2ssd_ros.evaluation.runs.journal import Journal
from mbv2ssd_ros.evaluation.runs.outputs import write_outputs
from mbv2ssd_ros.evaluation.runs.run import (
    DetectionSource,
    ModelDetections,
    Progress,
    RecordedDetections,
    run,
)
from mbv2ssd_ros.evaluation.truth.ground_truth import AnnotatedFrames, read_annotated_frames
from mbv2ssd_ros.evaluation.truth.topic import read_topic_annotations

INTERRUPTED = 'interrupted'
_SAMPLE_BYTES = 1 << 16
ProgressOf = Callable[[str, int, int], Progress]  # of title, frames done, frames in all


@dataclass(frozen=True)
class BagTask:
    """What to evaluate, and how."""

    bag: Path
    output: Path
    topics: tuple[str, ...] = ()  # of images; empty: the only one of the bag
    model: Path | None = None  # None: score what was recorded
    backend: str = 'auto'
    threads: int = 1
    recorded_topics: tuple[str, ...] = ()  # of detections, one for each image topic
    class_names: tuple[str, ...] = ()  # of recorded detections; empty: those that occur
    ground_truth: Path | None = None
    truth_topics: tuple[str, ...] = ()  # of annotations, one for each image topic
    curve_threshold: float = CURVE_THRESHOLD
    score_threshold: float = DetectionSettings.score_threshold
    nms_iou: float = DetectionSettings.nms_iou
    max_detections: int = CURVE_MAX_DETECTIONS
    tolerance_ms: float = 5.0
    clock: str = 'header'
    annotated: bool = False  # put images with boxes into detections.mcap

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.recorded_topics):
            raise ConfigError('either a model runs, or recorded detections are scored: give a '
                              'model or topics of detections')
        if self.ground_truth is not None and self.truth_topics:
            raise ConfigError('ground truth comes from a file or from topics, not from both')

    @property
    def is_scored(self) -> bool:
        """Whether there is ground truth."""
        return self.ground_truth is not None or bool(self.truth_topics)


def no_progress(title: str, done: int, total: int) -> Progress:
    """Show nothing."""
    return lambda records: records


def perform(task: BagTask, progress_of: ProgressOf = no_progress) -> BagEvaluation:
    """
    Process the frames that are not in the journal yet, score all, and write the files.

    Ctrl-C and a full disk end the run; what is done until then is scored and written, marked as
    incomplete, and the next call resumes from there. Mbv2SsdError: nothing can be evaluated.
    """
    laps_s = [time.perf_counter()]
    if task.is_scored:
        coco_library()  # raises now where it is missing, not after hours
    with Bag(task.bag) as bag:
        topics = image_topics(bag, task.topics)
        annotated = _annotated_frames(task, bag, topics)
        source, inputs = _source(task, bag, topics, annotated)
        if annotated is not None:
            annotated.require_classes(source.class_names)
        subject = Subject(
            inputs['detections_of'], task.bag.name, source.class_names,
            task.curve_threshold if task.model else 0.0, task.score_threshold)
        laps_s.append(time.perf_counter())
        records, new, incomplete = _run(task, bag, topics, source, inputs, progress_of)
        laps_s.append(time.perf_counter())
        evaluation = evaluate(inputs, subject, topics, records, incomplete, annotated,
                              task.tolerance_ms)
        laps_s.append(time.perf_counter())
        try:
            write_outputs(task.output, evaluation, bag, task.annotated)
        except DataError as err:
            if incomplete:  # mostly for the same reason
                raise DataError(f'{incomplete}; {err}') from err
            raise
        laps_s.append(time.perf_counter())
        start_s, frames_s, scoring_s, files_s = np.diff(laps_s).tolist()
        return replace(evaluation, spent=SpentTime(
            start_s, frames_s, inference_s(records[len(records) - new:]), scoring_s, files_s))


def _run(task: BagTask, bag: Bag, topics: tuple[str, ...], source: DetectionSource,
         inputs: dict[str, Any], progress_of: ProgressOf) -> tuple[list[FrameRecord], int, str]:
    """Return the records, how many of them are new, and why frames are missing."""
    try:
        task.output.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataError(f'{task.output}: cannot be made: {err}') from err
    journal = Journal(task.output / JOURNAL, inputs)
    before = len(journal.records)
    total = sum(topic.count for topic in bag.topics if topic.name in topics)
    progress = progress_of(task.bag.name, before, total)
    try:
        incomplete = run(bag, topics, source, journal, task.clock, progress)
    except KeyboardInterrupt:
        incomplete = f'{INTERRUPTED} after {len(journal.records)} of {total} frames'
    except DataError as err:  # of the journal: the disk is full
        incomplete = str(err)
    finally:
        journal.close()
    if not journal.records:
        raise DataError(incomplete or f'{task.bag}: has no message on {", ".join(topics)}')
    if not incomplete and all(record.detections is None for record in journal.records):
        incomplete = f'not one frame was answered: {journal.records[0].error}'
    return journal.records, len(journal.records) - before, incomplete


def _annotated_frames(task: BagTask, bag: Bag, topics: tuple[str, ...]) -> AnnotatedFrames | None:
    if task.truth_topics:
        _require_one_each('ground truth', task.truth_topics, topics)
        return read_topic_annotations(bag, topics, task.truth_topics, task.clock)
    if task.ground_truth is None:
        return None
    cameras = [topic.name for topic in bag.topics if topic.kind in IMAGE_KINDS]
    return read_annotated_frames(task.ground_truth, cameras)


def _source(task: BagTask, bag: Bag, topics: tuple[str, ...], annotated: AnnotatedFrames | None
            ) -> tuple[DetectionSource, dict[str, Any]]:
    """Return the source of detections, and what they depend on."""
    inputs = {'bag': _fingerprint(task.bag), 'topics': list(topics), 'clock': task.clock}
    if task.model is None:
        _require_one_each('recorded detections', task.recorded_topics, topics)
        recorded = RecordedDetections(bag, topics, task.recorded_topics, task.clock,
                                      round(task.tolerance_ms * 1e6))
        occurring = {*recorded.names_found, *(annotated.class_names if annotated else ())}
        names = task.class_names or tuple(sorted(occurring))
        if (not task.class_names and annotated and annotated.class_names and recorded.names_found
                and not {*recorded.names_found} & {*annotated.class_names}):
            raise DataError(
                f'{task.bag}: the recorded detections have the classes '
                f'{", ".join(recorded.names_found)}, {annotated.source} has '
                f'{", ".join(annotated.class_names)}: not one in common. Rename those of the '
                'ground truth, or name all of them with --classes')
        if unknown := sorted({*recorded.names_found} - {*names}):
            raise DataError(f'{task.bag}: detections of class {unknown[0]!r} were recorded, which '
                            f'is not one of {", ".join(names)}; name it with --classes')
        if not names:
            raise DataError(f'{task.bag}: {", ".join(task.recorded_topics)} has no detection of '
                            'any class; name the classes with --classes')
        recorded.class_names = names
        return recorded, {**inputs, 'detections_of': ', '.join(task.recorded_topics),
                          'class_names': list(names), 'tolerance_ms': task.tolerance_ms}
    settings = DetectionSettings(
        score_threshold=task.curve_threshold, nms_iou=task.nms_iou,
        max_detections=task.max_detections)
    backend = open_backend(task.backend, task.model, BackendOptions(
        ort=OrtOptions(threads=task.threads)))
    return ModelDetections(backend, settings), {
        **inputs, 'detections_of': task.model.name,
        'model_sha256': hashlib.sha256(task.model.read_bytes()).hexdigest(),
        'backend': backend.name, 'curve_threshold': task.curve_threshold,
        'nms_iou': task.nms_iou, 'max_detections': task.max_detections}


def _require_one_each(what: str, of: tuple[str, ...], topics: tuple[str, ...]) -> None:
    if len(of) != len(topics):
        raise ConfigError(f'{len(of)} topics of {what} ({", ".join(of)}) for {len(topics)} '
                          f'image topics ({", ".join(topics)}); give one for each, in their order')


def _fingerprint(path: Path) -> dict[str, Any]:
    """Distinguish bags by the size, the beginning and the end of each file."""
    files = sorted(file for file in path.iterdir() if file.is_file() and (
        storage_of(file) or file.name == METADATA)) if path.is_dir() else [path]
    found = {}
    for file in files:
        with file.open('rb') as stream:
            size, checksum = file.stat().st_size, zlib.crc32(stream.read(_SAMPLE_BYTES))
            stream.seek(max(0, size - _SAMPLE_BYTES))
            found[file.name] = [size, zlib.crc32(stream.read(), checksum)]
    return {'name': path.name, 'files': found}
