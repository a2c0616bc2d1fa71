"""`mbv2ssd_train promise`: thresholds that keep the share of missed objects below a limit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.options import add_data, add_model, chosen_model, refuse_learnt_images
from mbv2ssd_train.process.progress import with_progress

if TYPE_CHECKING:
    from mbv2ssd_train.promise import Promise

LOWEST, MAX_DETECTIONS = 0.02, 200


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'promise', help='find thresholds that keep the share of missed objects low',
        description='Find for each class the largest score threshold at which the expected share '
        'of missed objects, in an image that shows the class, is below a limit with the given '
        'confidence; or say that no threshold can. Holds for images like those of the split, '
        'which must not have been trained on. Each class has the confidence for itself.')
    add_model(verb)
    add_data(verb)
    verb.add_argument('--miss', required=True, nargs='+', metavar='CLASS:SHARE',
                      help="largest share of missed objects of a class, such as 'person: 0.3'")
    verb.add_argument('--confidence', type=float, default=0.95,
                      help='probability that the promise holds, default 0.95')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.detections import DetectionSettings
    from mbv2ssd_ros.evaluation.matching import match_results
    from mbv2ssd_train.data.sources.open import open_dataset
    from mbv2ssd_train.deploy.open_model import open_model
    from mbv2ssd_train.evaluate import detect_all
    from mbv2ssd_train.promise import promises
    limits = dict(map(_limit, options.miss))
    model = chosen_model(options)
    backend = open_model(model)
    names = backend.contract.object_names
    dataset = refuse_learnt_images(model, backend.contract.provenance.config, options.data,
                                   open_dataset(options.data, options.split, names))
    settings = DetectionSettings(score_threshold=LOWEST, max_detections=MAX_DETECTIONS)
    results = list(detect_all(backend, dataset, settings, with_progress('evaluate')))
    found = promises(match_results(results, len(names)), names, limits, options.confidence,
                     LOWEST, len(dataset))
    for promise in found:
        print(describe(promise, options.confidence))
    if kept := [f"'{one.name}:{one.threshold:g}'" for one in found if one.threshold is not None]:
        print(f'for the parameter file of the node:\n  class_thresholds: [{", ".join(kept)}]')


def describe(promise: Promise, confidence: float) -> str:
    """Say in one line what is promised, and what it costs."""
    measured = (f'{promise.missed:.1%} were missed in {promise.images} images with '
                f'{promise.objects} objects, {promise.false_per_image:.2f} false detections an '
                'image')
    if promise.threshold is None:
        return (f'{promise.name}: no threshold keeps the share of missed objects below '
                f'{promise.limit:.1%} with a confidence of {confidence:.0%}; at {LOWEST:g}, the '
                f'lowest one measured, {measured}')
    return (f'{promise.name}: above a score of {promise.threshold:.4f} at most '
            f'{promise.limit:.1%} are missed, with a confidence of {confidence:.0%}; {measured}')


def _limit(text: str) -> tuple[str, float]:
    name, _, share = text.rpartition(':')
    try:
        return name.strip(), float(share)
    except ValueError:
        raise ConfigError(
            f"--miss {text!r}: expected CLASS:SHARE, such as 'person: 0.3'") from None
