"""`mbv2ssd_train predict`: detect in images, videos, webcams and streams."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
import signal

from mbv2ssd_ros.core.arguments import seconds, whole
from mbv2ssd_ros.core.errors import ConfigError, DataError, Mbv2SsdError
from mbv2ssd_train.cli.options import (
    add_model,
    add_settings,
    chosen_model,
    detection_settings,
)


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'predict', help='detect in images, videos, webcams and streams',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Write annotated copies, detections.json for images and detections.jsonl for '
        'videos.\nUnreadable inputs are reported and skipped; the exit code is 1 then.',
        epilog='examples:\n'
               '  mbv2ssd_train predict photos/ --recursive\n'
               '  mbv2ssd_train predict --run latest photos/\n'
               '  mbv2ssd_train predict --model model.onnx drive.mp4 --every 5 --classes cat,dog\n'
               '  mbv2ssd_train predict --model model.onnx 0 --max-frames 100\n'
               '  mbv2ssd_train predict --model model.onnx rtsp://camera/stream --save none')
    add_model(verb)
    verb.add_argument('inputs', nargs='+', metavar='INPUT',
                      help="image files or folders, globs ('*.jpg'), video files, the index of a "
                      'webcam (0), or URLs of an image or a stream (http, rtsp)')
    verb.add_argument('--output', type=Path, default=Path('predictions'),
                      help='folder, default predictions')
    verb.add_argument('--recursive', action='store_true', help='look into folders of folders')
    save = verb.add_mutually_exclusive_group()
    save.add_argument('--save', choices=('annotated', 'crops', 'none'), default='annotated',
                      help='pictures, too: copies with boxes (default), one for each detection, '
                      'or none')
    save.add_argument('--no-images', dest='save', action='store_const', const='none',
                      help='the same as --save none')
    verb.add_argument('--show', action='store_true',
                      help='show in a window; any key: next image, q: end')
    verb.add_argument('--classes', metavar='NAME,...', help='report these only, default all')
    add_settings(verb, score_threshold=0.35, max_detections=100)
    video = verb.add_argument_group('videos, webcams and streams')
    video.add_argument('--every', type=whole, metavar='N', help='process every N-th frame only')
    video.add_argument('--max-frames', type=whole, metavar='N',
                       help='stop after that many, default at the end or at Ctrl-C')
    video.add_argument('--reconnect', type=seconds, metavar='SECONDS',
                       help='how long to try to reach a stream again that broke, default 10')
    verb.set_defaults(run=_run)


class _Interrupted(Mbv2SsdError):

    def __init__(self, signum: int, done: str) -> None:
        super().__init__(f'stopped by {signal.Signals(signum).name}; {done}')
        self.exit_code = 128 + signum


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.deploy.open_model import open_model
    from mbv2ssd_train.predict.inputs import find_inputs
    from mbv2ssd_train.predict.options import PredictOptions
    from mbv2ssd_train.predict.run import predict
    from mbv2ssd_train.process.signals import StopRequest
    backend = open_model(chosen_model(options))
    settings = replace(detection_settings(options),
                       class_allow=_classes(options.classes, backend.contract.object_names))
    inputs = find_inputs(options.inputs, options.output, options.recursive)
    for name in ('every', 'max_frames', 'reconnect'):
        if not inputs.videos and getattr(options, name) is not None:
            raise ConfigError(f'--{name.replace("_", "-")} is for videos, webcams and streams; '
                              'all inputs are images')
    chosen = PredictOptions(
        options.output, options.save, options.every or 1, options.max_frames,
        10.0 if options.reconnect is None else options.reconnect, options.show)
    with StopRequest('finishing this image or frame') as stop:
        outcome = predict(backend, inputs, settings, chosen, lambda: stop.signum != 0)
    where = f'{outcome}; results are in {options.output}/'
    if stop.signum:
        raise _Interrupted(stop.signum, where)
    if outcome.images or outcome.frames:
        print(where)
    if outcome.faults:
        count = len(inputs.images) + len(inputs.videos)
        raise DataError(outcome.faults[0] if count == 1 else
                        f'{len(outcome.faults)} of {count} inputs could not be read to the end; '
                        'see the faults above')


def _classes(text: str | None, known: tuple[str, ...]) -> frozenset[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(',')]
    for name in names:
        if name not in known:
            raise ConfigError(f'--classes: the model knows no class {name!r}; it knows '
                              f'{", ".join(known)}')
    return frozenset(names)
