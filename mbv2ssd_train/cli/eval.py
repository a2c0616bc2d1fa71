"""`mbv2ssd_train eval`: measure a model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mbv2ssd_train.cli.options import (
    add_model,
    add_settings,
    DATA_HELP,
    detection_settings,
    refuse_training_data,
    SPLIT_HELP,
    write_json,
)
from mbv2ssd_train.evaluate import Evaluation
from mbv2ssd_train.progress import with_progress


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'eval', help='measure mAP of a checkpoint or an ONNX file',
        description="Measure VOC mAP@0.5 with the detector node's own resize, thresholds and NMS. "
        'Objects marked difficult are ignored, as the VOC devkit does.')
    add_model(verb)
    verb.add_argument('--data', required=True, help=DATA_HELP)
    verb.add_argument('--split', required=True, help=SPLIT_HELP)
    verb.add_argument('--json', type=Path, help='write the figures to this file')
    add_settings(verb, score_threshold=0.02, max_detections=200)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.data.sources import open_dataset
    from mbv2ssd_train.evaluate import evaluate
    from mbv2ssd_train.models import open_model
    backend = open_model(options.model)
    dataset = open_dataset(options.data, options.split, backend.contract.object_names)
    refuse_training_data(backend.contract.provenance.config, options, dataset)
    result = evaluate(backend, dataset, detection_settings(options), with_progress('evaluate'))
    _print_evaluation(result)
    if options.json:
        write_json(options.json, {'model': options.model, **result.to_dict()})


def _print_evaluation(result: Evaluation) -> None:
    for label, curve in result.curves.items():
        if not math.isnan(curve.average_precision):
            print(f'  {result.class_names[label - 1]:<14} AP {curve.average_precision:.3f}   '
                  f'{curve.num_objects} objects')
    print(f'mAP@0.5 {result.map_50:.4f} (area), {result.map_50_11point:.4f} (11-point) on '
          f'{result.split}, {result.images} images')
