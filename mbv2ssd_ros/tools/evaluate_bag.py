"""
Measure a detector on a recording: mAP, precision and recall, latency, and what failed.

Reads rosbag2 (sqlite3, mcap, compressed) and ROS 1 bags without a ROS installation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
import json
import math
from pathlib import Path
import sys

from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.core.arguments import points, positive, share, whole
from mbv2ssd_ros.core.detections import CURVE_THRESHOLD, DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.bags.frames import CLOCKS
from mbv2ssd_ros.evaluation.runs.baseline import (
    changes,
    data_changes,
    notes,
    read_metrics,
    require_agreement,
    table,
)
from mbv2ssd_ros.evaluation.runs.evaluation import BagEvaluation
from mbv2ssd_ros.evaluation.runs.journal import FILE_NAME as JOURNAL
from mbv2ssd_ros.evaluation.runs.many_bags import (
    BagOutcome,
    cluster,
    find_bags,
    folder_name,
    one_process,
    perform_all,
    processes,
    tasks_for,
)
from mbv2ssd_ros.evaluation.runs.many_outputs import put_together, write_set
from mbv2ssd_ros.evaluation.runs.outputs import METRICS, REPORT, write_text
from mbv2ssd_ros.evaluation.runs.task import BagTask, INTERRUPTED, perform
from mbv2ssd_ros.shipped import find_model
from mbv2ssd_ros.tools.cli.model_settings import ModelSettings
from mbv2ssd_ros.tools.cli.program import INTERRUPTED_CODE, log, run
from mbv2ssd_ros.tools.cli.progress import frame_progress
from mbv2ssd_ros.tools.cli.settings import flag, option, read, topics_option

PROGRAM = 'evaluate_bag'
COMPARED, COMPARISON = 'compared', 'comparison.json'
_TRUTH, _FIGURES, _SEVERAL = 'what is measured, and against what', 'figures', 'several bags'


@dataclass(frozen=True, kw_only=True)
class Settings(ModelSettings):
    """What is measured, against what, and what is written."""

    bag: list[Path] = option(type=Path, nargs='+',
                             help='folder of a rosbag2, a .mcap, .db3 or .bag file; several of '
                             'them, or a folder of bags, are measured together')
    topic: list[str] = topics_option('the only one of the bag')
    output: Path | None = option('--output', type=Path, metavar='FOLDER',
                                 help='gets the results (default: BAG_evaluation)')
    restart: bool = flag('--restart', 'start again where --output has results of an earlier run')
    annotate: bool = flag('--annotate', 'put images with boxes into detections.mcap')
    recorded: list[str] = option(
        '--recorded', action='append', default=[], metavar='TOPIC', group=_TRUTH,
        help='score these Detection2DArray messages of the bag instead of running a model; once '
        'for each --topic, in their order')
    classes: list[str] = option('--classes', nargs='+', default=[], metavar='NAME', group=_TRUTH,
                                help='of --recorded (default: those that occur)')
    compare: Path | None = option('--compare', type=Path, metavar='MODEL', group=_TRUTH,
                                  help='measure this model too and print both side by side')
    ground_truth: Path | None = option(
        '--ground-truth', type=Path, metavar='PATH', group=_TRUTH, help='COCO JSON, or a folder '
        'of VOC XML; named by stamp or frame number. {bag} in it stands for the name of the bag')
    ground_truth_topic: list[str] = option(
        '--ground-truth-topic', action='append', default=[], metavar='TOPIC', group=_TRUTH,
        help='annotations in the bag, as Detection2DArray; once for each --topic')
    tolerance_ms: float = option(
        '--tolerance-ms', type=positive, default=5.0, metavar='MS', group=_TRUTH, help='by which '
        'the stamps of a frame and its annotation may differ (default %(default)g)')
    clock: str = option('--clock', choices=CLOCKS, default='header', group=_TRUTH,
                        help='stamps of the cameras, or times of recording (default %(default)s)')
    score_threshold: float = option(
        '--score-threshold', type=share, default=DetectionSettings.score_threshold,
        metavar='SCORE', group=_FIGURES, help='operating point of precision, recall, confusion '
        'and detections.mcap (default %(default)s)')
    curve_threshold: float = option(
        '--curve-threshold', type=share, default=CURVE_THRESHOLD, metavar='SCORE', group=_FIGURES,
        help='score above which detections are kept for mAP (default %(default)s)')
    baseline: Path | None = option(
        '--baseline', type=Path, metavar='JSON', group=_FIGURES,
        help='metrics.json of an earlier evaluation to compare with')
    max_drop: float = option(
        '--max-drop', type=points, default=0.5, metavar='POINTS', group=_FIGURES, help='exit code '
        '1 when mAP@0.5 or COCO mAP is lower than the baseline by more, in points of 100 (default '
        '%(default)s)')
    changed_data: bool = option(
        '--changed-data', action='store_true', default=False, group=_FIGURES,
        help='compare with a baseline of other frames or other ground truth all the same')
    workers: int = option('--workers', type=whole, default=1, metavar='N', group=_SEVERAL,
                          help='processes that share them (default %(default)s)')
    scheduler: str | None = option(
        '--scheduler', metavar='ADDRESS', group=_SEVERAL, help='of a Dask cluster that shares '
        'them, such as tcp://10.0.0.5:8786; paths must mean the same files on all of its machines')


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the program.

    The exit code is 1 after an error, an incomplete bag, or a drop below the baseline; 130 after
    an interruption.
    """
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  evaluate_bag drive/ --ground-truth drive.json\n'
        '  evaluate_bag drive/ --recorded /camera/detections --ground-truth drive.json\n'
        '  evaluate_bag drive/ --ground-truth drive.json --baseline old/metrics.json\n'
        'The same command resumes after an interruption. See docs/bags.md.')
    return run(PROGRAM, lambda: _evaluate(settings), 'interrupted; the same command resumes')


def _evaluate(settings: Settings) -> int:
    bags = find_bags(settings.bag)
    task = _task(settings, bags)
    if (settings.baseline or settings.compare) and not task.is_scored:
        raise ConfigError('--baseline and --compare need --ground-truth or --ground-truth-topic')
    baseline = read_metrics(settings.baseline) if settings.baseline else None
    if len(bags) > 1 and settings.compare:
        raise ConfigError('--compare takes one bag; evaluate several with each model and compare '
                          'with --baseline')
    if settings.scheduler and settings.workers > 1:
        raise ConfigError('--workers shares bags between processes here, --scheduler between '
                          'those of a cluster; give one of them')
    if len(bags) == 1 and (settings.scheduler or settings.workers > 1):
        log(PROGRAM, 'note: there is one bag, which one process evaluates')
    if settings.compare or baseline:
        task = _comparable(settings, task, baseline)
    if settings.restart:
        for journal in (task.output / JOURNAL, *task.output.glob(f'*/{JOURNAL}')):
            try:
                journal.unlink(missing_ok=True)
            except OSError as err:
                raise DataError(f'{journal}: cannot be removed: {err.strerror}; choose another '
                                '--output') from err
    if len(bags) > 1:
        return _evaluate_set(settings, bags, task, baseline)
    first = perform(task, frame_progress)
    print(summary(first, task.output))
    code = _code(first)
    if code == 0 and settings.compare:
        code = _compare(settings, task, first)
    if code == 0 and baseline is not None:
        code = _judge(settings, baseline, first.to_dict())
    return code


def _comparable(settings: Settings, task: BagTask, baseline: dict | None) -> BagTask:
    """Check before anything runs what must agree; recorded classes are those of --compare."""
    names = _class_names(settings, task.model) if task.model else task.class_names
    if settings.compare:
        others = _class_names(settings, find_model(str(settings.compare)))
        if (names or others) != others:
            raise ConfigError(f'--compare {settings.compare}: knows the classes '
                              f'{", ".join(others)}, the first has {", ".join(names)}; the two '
                              'cannot be compared')
        names = others
    if baseline is not None:
        known = {'classes': list(names), 'score_threshold': settings.score_threshold,
                 'curve_threshold': settings.curve_threshold if task.model else 0.0}
        require_agreement(baseline['accuracy'], known if names else {}, str(settings.baseline))
    return task if task.model else replace(task, class_names=names)


def _class_names(settings: Settings, model: Path) -> tuple[str, ...]:
    backend = open_backend(settings.backend, model,
                           BackendOptions(ort=OrtOptions(threads=settings.threads)))
    try:
        return backend.contract.object_names
    finally:
        backend.close()


def _evaluate_set(settings: Settings, bags: Sequence[Path], task: BagTask,
                  baseline: dict | None) -> int:
    workers = (cluster(settings.scheduler) if settings.scheduler
               else processes(settings.workers) if settings.workers > 1
               else one_process(frame_progress))
    outcomes = perform_all(tasks_for(bags, task), workers, _print_outcome)
    found = put_together(outcomes)
    write_set(task.output, found)
    if analysis := found.analysis:
        print(f'{len(bags)} bags together, {len(analysis.results)} frames scored: '
              f'{_accuracy(analysis)}')
    print(f'see {task.output / REPORT} and {task.output / METRICS}')
    failed_bags = [outcome for outcome in outcomes if outcome.problem]
    if failed_bags:
        log(PROGRAM, f'{len(failed_bags)} of {len(bags)} bags are not whole')
        stopped = any(INTERRUPTED in outcome.problem for outcome in failed_bags)
        return INTERRUPTED_CODE if stopped else 1
    return 0 if baseline is None else _judge(settings, baseline, found.to_dict())


def _print_outcome(outcome: BagOutcome) -> None:
    if outcome.problem:
        is_named = str(outcome.task.bag) in outcome.problem
        print(outcome.problem if is_named else f'{outcome.name}: {outcome.problem}',
              file=sys.stderr, flush=True)
    if not outcome.error:
        figure = '' if math.isnan(outcome.map_50) else f', mAP@0.5 {outcome.map_50:.4f}'
        print(f'{outcome.name}: {outcome.frames["answered"]} of {outcome.frames["read"]} frames '
              f'answered{figure}', flush=True)


def _code(evaluation: BagEvaluation) -> int:
    if reason := evaluation.incomplete_because:
        log(PROGRAM, f'incomplete: {reason}')
        return INTERRUPTED_CODE if reason.startswith(INTERRUPTED) else 1
    return 0


def _compare(settings: Settings, task: BagTask, first: BagEvaluation) -> int:
    model = find_model(str(settings.compare))
    second = perform(replace(task, model=model, recorded_topics=(), class_names=(),
                             output=task.output / COMPARED), frame_progress)
    if code := _code(second):
        return code
    before, after = first.to_dict(), second.to_dict()
    found = changes(before, after, first.subject.model, ('classes', 'score_threshold'))
    write_text(task.output / COMPARISON, json.dumps({
        'before': first.subject.model, 'after': second.subject.model, 'unit': 'points of 100',
        'changes': [{'figure': change.name, 'before': change.before, 'after': change.after,
                     'change': change.difference} for change in found],
        'latency_ms': {'before': before['latency'], 'after': after['latency']}}, indent=1) + '\n')
    print(f'\n{first.subject.model} (first) and {second.subject.model} (second)')
    print(table(found, None, ('first', 'second')))
    if task.model is None:
        print('note: detections that were not published lower the mAP of what was recorded; '
              'compare precision, recall and F1')
    for name, p in second.latency().items():
        if name in first.latency():
            print(f'{name + " p50, ms":<26} {first.latency()[name].p50_ms:>10.2f} '
                  f'{p.p50_ms:>10.2f}')
    return 0


def _judge(settings: Settings, baseline: dict, now: dict) -> int:
    found = changes(baseline, now, str(settings.baseline))
    print('\n' + table(found, settings.max_drop, ('baseline', 'now')))
    for note in notes(baseline, now):
        print(f'note: {note}')
    if changed := data_changes(baseline, now):
        log(PROGRAM, f'{settings.baseline}: {"; ".join(changed)}' + (
            '' if settings.changed_data else '. Make a new baseline, or compare all the same '
            'with --changed-data'))
        if not settings.changed_data:
            return 1
    if any(change.is_worse(settings.max_drop) for change in found):
        log(PROGRAM, f'worse than {settings.baseline} by more than {settings.max_drop:g} points')
        return 1
    return 0


def summary(evaluation: BagEvaluation, output: Path) -> str:
    """Describe an evaluation in a few lines; its files are in `output`."""
    figures = evaluation.to_dict()
    frames, subject = figures['frames'], evaluation.subject
    failed = ''.join(f', {count} {reason}' for reason, count in frames['failed'].items())
    lines = [f'{subject.model} on {subject.split}: {frames["read"]} frames read, '
             f'{frames["answered"]} answered{failed}', *_problems(evaluation)]
    if pairing := figures['pairing']:
        by = (f'stamp within {pairing["tolerance_ms"]:g} ms' if pairing['by'] == 'stamp'
              else 'number')
        lines.append(
            f'{pairing["paired"]} frames paired with an annotation by {by}; '
            f'{pairing["frames_without_annotation"]} frames without annotation, '
            f'{pairing["annotations_without_frame"]} annotations without frame')
    if analysis := evaluation.analysis:
        chosen = analysis.overall.chosen
        lines.append(_accuracy(analysis))
        lines.append(f'above a score of {chosen.score_threshold:g}: precision '
                     f'{_figure(chosen.precision)}, recall {_figure(chosen.recall)}, F1 '
                     f'{_figure(chosen.f1)}')
    else:
        lines.append(f'no ground truth; detected above a score of {subject.score_threshold:g}: '
                     + (', '.join(f'{count} {name}' for name, count in
                                  evaluation.detected().items()) or 'nothing'))
    lines += [f'{stage:<10} p50 {p.p50_ms:7.2f}   p95 {p.p95_ms:7.2f}   p99 {p.p99_ms:7.2f} ms'
              for stage, p in evaluation.latency().items()]
    if evaluation.spent:
        lines.append(str(evaluation.spent))
    lines.append(f'see {output / REPORT} and {output / METRICS}')
    return '\n'.join(lines)


def _problems(evaluation: BagEvaluation) -> Iterator[str]:
    """Yield the first error of each kind of failure, and why pairing by stamp is impossible."""
    seen: set[str] = set()
    for record in evaluation.records:
        if record.reason and record.reason not in seen:
            seen.add(record.reason)
            yield (f'{record.reason}, first frame {record.index} of {record.topic}: '
                   f'{record.error}')
    stamps = Counter((record.topic, record.stamp_ns) for record in evaluation.records)
    shared = len(evaluation.records) - len(stamps)
    if shared and evaluation.inputs['clock'] == 'header':
        yield (f'{shared} frames have the stamp of an earlier one; --clock recorded takes the '
               'times of recording')


def _accuracy(analysis: Analysis) -> str:
    return (f'mAP@0.5 {_figure(analysis.map_50)} (area), {_figure(analysis.map_50_11point)} '
            f'(11-point), COCO mAP {_figure(analysis.coco.ap)}')


def _figure(value: float) -> str:
    return 'none' if math.isnan(value) else f'{value:.4f}'


def _task(settings: Settings, bags: Sequence[Path]) -> BagTask:
    """Return the task of the only bag, or the common part of all bags' tasks."""
    if settings.recorded and settings.model:
        raise ConfigError('--recorded scores what was recorded, --model runs a model; give one '
                          'of them (--compare MODEL measures both)')
    if settings.classes and not settings.recorded:
        raise ConfigError('--classes is for --recorded; a model knows its classes')
    model = None if settings.recorded else find_model(settings.model)
    stem = folder_name(bags[0]) if len(bags) == 1 else 'bags'
    found = BagTask(
        bag=bags[0], output=settings.output or Path(f'{stem}_evaluation'),
        topics=tuple(settings.topic), model=model, backend=settings.backend,
        threads=settings.threads,
        recorded_topics=tuple(settings.recorded), class_names=tuple(settings.classes),
        ground_truth=settings.ground_truth, truth_topics=tuple(settings.ground_truth_topic),
        curve_threshold=settings.curve_threshold, score_threshold=settings.score_threshold,
        nms_iou=settings.nms_iou, max_detections=settings.max_detections,
        tolerance_ms=settings.tolerance_ms, clock=settings.clock, annotated=settings.annotate)
    if len(bags) > 1:
        return found
    return replace(tasks_for(bags, found)[0], output=found.output)


if __name__ == '__main__':
    sys.exit(main())
