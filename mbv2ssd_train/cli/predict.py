"""`mbv2ssd_train predict`: detect and show."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbv2ssd_train.cli.options import (
    add_model,
    add_settings,
    detection_settings,
)
from mbv2ssd_train.progress import with_progress


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'predict', help='detect in image files',
        description='Write annotated copies of images and detections.json.')
    add_model(verb)
    verb.add_argument('inputs', nargs='+', help='image files or folders')
    verb.add_argument('--output', type=Path, default=Path('predictions'), help='folder')
    add_settings(verb, score_threshold=0.35, max_detections=100)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.models import open_model
    from mbv2ssd_train.predict import find_images, predict
    found = predict(open_model(options.model), find_images(options.inputs),
                    detection_settings(options), options.output, with_progress('predict'))
    for name, detections in found.items():
        listed = ', '.join(f'{d["label"]} {d["score"]:.2f}' for d in detections)
        print(f'{name}: {listed or "nothing"}')
    print(f'annotated images and detections.json are in {options.output}/')
