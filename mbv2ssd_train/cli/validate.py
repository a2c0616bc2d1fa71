"""`mbv2ssd_train validate`: check whether one model file can replace another."""

from __future__ import annotations

import argparse
from contextlib import closing
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.options import DATA_HELP, refuse_learnt_images, SPLIT_HELP, write_json
from mbv2ssd_train.process.progress import with_progress

if TYPE_CHECKING:
    from mbv2ssd_ros.backends.base import Backend
    from mbv2ssd_train.data.dataset import Dataset
    from mbv2ssd_train.export.agreement import Check, Limits
    from mbv2ssd_train.validation import Validation

_SHOWN = 20  # violations of a file; all of them are in the JSON


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'validate', help='check whether a model file can replace another',
        description='Compare contract, outputs, detections and mAP of two models: checkpoints, '
        '.onnx files of any precision, or tensorrt:FILE.onnx for the engine of a file. A file '
        "with Q/DQ nodes is also checked against TensorRT's rules or, if made for a CPU, for "
        'weights that saturate. Exit code 1 if the second cannot replace the first. The lower '
        'precision of the two sets the default limits.')
    verb.add_argument('first', help='reference: a .pt, .onnx or tensorrt:FILE.onnx')
    verb.add_argument('second', help='replacement, likewise')
    verb.add_argument('--data', help='images for outputs and mAP; without it outputs are compared '
                      f'on synthetic images. {DATA_HELP}')
    verb.add_argument('--split', help=f'split of --data. {SPLIT_HELP}')
    verb.add_argument('--images', type=int, default=100,
                      help='number of images to compare outputs on, default 100; mAP uses the '
                      'whole split')
    verb.add_argument('--max-alone', type=float, metavar='SHARE',
                      help='largest share of detections that only one model has (default: fp32 '
                      '0, fp16 0.01, int8 0.1)')
    verb.add_argument('--min-iou', type=float, metavar='IOU',
                      help='smallest mean IoU of matched detections (default: 0.9999, 0.99, '
                      '0.85)')
    verb.add_argument('--max-score-difference', type=float, metavar='SCORE',
                      help='largest mean difference of matched scores (default: 0.0001, 0.01, '
                      '0.12)')
    verb.add_argument('--max-drop', type=float, metavar='POINTS',
                      help='largest drop in mAP (default: 0.05, 0.5, 1.0)')
    verb.add_argument('--json', type=Path, help='write all results to this file')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if bool(options.data) != bool(options.split):
        raise ConfigError('--data and --split belong together')
    if options.max_drop is not None and not options.data:
        raise ConfigError('--max-drop limits mAP, which needs --data and --split')
    from mbv2ssd_train.validation import open_artefact
    with closing(open_artefact(options.first)) as first, \
            closing(open_artefact(options.second)) as second:
        found = _validate(options, (first, second))
    _print(found)
    if options.json:
        write_json(options.json, found.to_dict())
    return 0 if found.passed else 1


def _validate(options: argparse.Namespace, models: tuple[Backend, Backend]) -> Validation:
    from mbv2ssd_train.data.sources.open import open_dataset
    from mbv2ssd_train.onnx_files.check_images import images_of
    from mbv2ssd_train.validation import validate
    dataset, contract = None, models[0].contract
    if options.data:
        dataset = open_dataset(options.data, options.split, contract.object_names)
        refuse_learnt_images(options.first.removeprefix('tensorrt:'), contract.provenance.config,
                             options.data, dataset)
    images = images_of(dataset, options.images, contract)
    return validate((options.first, options.second), models, images,
                    options.split or 'synthetic', _limits(options, models),
                    _check_map(options, models, dataset) if dataset else None)


def _check_map(options: argparse.Namespace, models: tuple[Backend, Backend], dataset: Dataset
               ) -> Check | None:
    from mbv2ssd_train.validation import check_map, lower_precision, MAX_DROP
    if models[0].contract.object_names != models[1].contract.object_names:
        return None  # reported with the contracts
    max_drop = options.max_drop
    if max_drop is None:
        max_drop = MAX_DROP[lower_precision(*models)]
    return check_map(*models, dataset, max_drop, with_progress('evaluate'))


def _limits(options: argparse.Namespace, models: tuple[Backend, Backend]) -> Limits:
    from mbv2ssd_train.export.agreement import LIMITS
    from mbv2ssd_train.validation import lower_precision
    asked = {'alone_share': options.max_alone, 'iou_mean': options.min_iou,
             'pair_score_mean': options.max_score_difference}
    return dataclasses.replace(
        LIMITS[lower_precision(*models)],
        **{name: value for name, value in asked.items() if value is not None})


def _print(found: Validation) -> None:
    width = max(len(check.name) for check in found.checks)
    print(f'{found.first} and {found.second}, on images: {found.compared_on}')
    for check in found.checks:
        verdict = 'ok  ' if check.fine else 'FAIL'
        allowed = '' if check.allowed in (check.found, 'equal') else f'   ({check.allowed})'
        print(f'  {verdict} {check.name:<{width}}   {check.found}{allowed}')
    for violations in found.violations.values():
        for violation in violations[:_SHOWN]:
            print(f'  {violation}')
        if len(violations) > _SHOWN:
            print(f'  ... and {len(violations) - _SHOWN} more; --json writes all')
    if found.agreement is None:
        print('  outputs of different shapes are not compared')
    elif not found.agreement.detections:
        print('  note: neither model detects anything there; compare on --data')
    failed = [check.name for check in found.checks if not check.fine]
    print(f'failed: {", ".join(failed)}' if failed else 'passed')
