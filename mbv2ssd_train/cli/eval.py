"""`mbv2ssd_train eval`: measure a model."""

from __future__ import annotations

import argparse
from dataclasses import replace
import math
from pathlib import Path
from typing import TYPE_CHECKING

from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_train.cli.options import (
    add_data,
    add_model,
    add_settings,
    chosen_model,
    detection_settings,
    HelpFormatter,
    refuse_learnt_images,
    write_json,
)
from mbv2ssd_train.process.progress import with_progress

if TYPE_CHECKING:
    from mbv2ssd_ros.evaluation.analysis import Analysis

CURVE_THRESHOLD, SCORE_THRESHOLD, MAX_DETECTIONS = 0.02, 0.35, 200


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'eval', help='measure a checkpoint or an ONNX file',
        description="Measure VOC mAP@0.5 and COCO mAP with the detector node's own resize and "
        'NMS; precision, recall and F1 at its score threshold; and the kinds of mistakes. '
        'Objects marked difficult are ignored, as in the VOC devkit; COCO mAP treats them as '
        'crowd regions. A split that shares images with the training data is an error.',
        formatter_class=HelpFormatter,
        epilog='examples:\n'
               '  mbv2ssd_train eval --data DATA --split test\n'
               '  mbv2ssd_train eval --run latest --data DATA --split test --report report\n'
               '  mbv2ssd_train eval --model model.onnx --data DATA --split "trainval@hash:0/10"')
    add_model(verb)
    add_data(verb)
    verb.add_argument('--skip-learnt', action='store_true',
                      help='leave out images that the model learnt from, and near copies of them; '
                      'their number is printed')
    verb.add_argument('--json', type=Path, help='write all figures to this file')
    verb.add_argument('--report', type=Path, metavar='DIR',
                      help='write DIR/report.html, a self-contained page with figures, curves '
                      'and the worst images')
    verb.add_argument('--curve-threshold', type=float, default=CURVE_THRESHOLD,
                      help='lowest score of detections for mAP and curves; low, so that the '
                      f'curves reach their end; default {CURVE_THRESHOLD}')
    add_settings(verb, SCORE_THRESHOLD, MAX_DETECTIONS,
                 'score threshold of precision, recall, confusion and mistakes')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    for folder in filter(None, (options.report, options.json and options.json.parent)):
        folder.mkdir(parents=True, exist_ok=True)  # fail now rather than after all the work
    analysis = measure(str(chosen_model(options)), options.data, options.split,
                       detection_settings(options), options.curve_threshold, options.report,
                       options.skip_learnt)
    if options.json:
        write_json(options.json, analysis.to_dict())


def measure(model: str, data: str, split: str, settings: DetectionSettings,
            curve_threshold: float = CURVE_THRESHOLD, report: Path | None = None,
            skip_learnt: bool = False) -> Analysis:
    """Measure a model on a split, print the figures, and write a report into a folder."""
    from mbv2ssd_ros.evaluation.analysis import analyse, Subject
    from mbv2ssd_ros.evaluation.coco import coco_library
    from mbv2ssd_ros.evaluation.report.detector_report import write_report
    from mbv2ssd_train.data.sources.open import open_dataset
    from mbv2ssd_train.deploy.open_model import open_model
    from mbv2ssd_train.evaluate import detect_all, summarise
    coco_library()
    backend = open_model(model)
    names = backend.contract.object_names
    subject = Subject(model, split, names, curve_threshold, settings.score_threshold)
    dataset = refuse_learnt_images(model, backend.contract.provenance.config, data,
                                   open_dataset(data, split, names), skip_learnt)
    results = detect_all(backend, dataset, replace(settings, score_threshold=curve_threshold),
                         with_progress('evaluate'))
    analysis = analyse(subject, summarise(dataset, results).results)
    _print_analysis(analysis)
    if report:
        print(f'report: {write_report(report, analysis, dataset.image)}')
    return analysis


def _print_analysis(analysis: Analysis) -> None:
    for label, scope in analysis.classes.items():
        if scope.curve.num_objects:
            print(f'  {analysis.name(label):<14} AP {scope.curve.average_precision:.3f}   '
                  f'{scope.curve.num_objects} objects')
    split, coco, chosen = analysis.subject.split, analysis.coco, analysis.overall.chosen
    print(f'mAP@0.5 {_figure(analysis.map_50)} (area), {_figure(analysis.map_50_11point)} '
          f'(11-point) on {split}, {len(analysis.results)} images')
    print(f'COCO mAP {_figure(coco.ap)}, at IoU 0.5 {_figure(coco.ap_50)}, at 0.75 '
          f'{_figure(coco.ap_75)}; small {_figure(coco.ap_small)}, medium '
          f'{_figure(coco.ap_medium)}, large {_figure(coco.ap_large)} on {split}')
    print(f'above a score of {chosen.score_threshold:g}: precision {_figure(chosen.precision)}, '
          f'recall {_figure(chosen.recall)}, F1 {_figure(chosen.f1)} on {split}')
    if best := analysis.overall.best:
        print(f'best F1 {_figure(best.f1)}, above a score of {best.score_threshold:.3f} on '
              f'{split}')


def _figure(value: float) -> str:
    return 'none' if math.isnan(value) else f'{value:.4f}'
