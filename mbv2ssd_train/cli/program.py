"""The program `mbv2ssd_train`: its verbs and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import difflib
from importlib import metadata
import os
import re
import sys
from typing import Any, NoReturn

from mbv2ssd_ros.core.errors import Mbv2SsdError, one_line
from mbv2ssd_train.cli import (
    benchmark,
    data,
    export,
    import_weights,
    ladder,
    new,
    predict,
    promise,
    quantize,
    runs,
    self_test,
    train,
    validate,
)
from mbv2ssd_train.cli import eval as evaluation

_VERBS = (new, train, runs, ladder, evaluation, export, quantize, self_test, validate, promise,
          predict, data, import_weights, benchmark)
_LESS_MEMORY = ('If this was training, training.accumulate=2 splits a batch in two, '
                'data.keep=memory keeps the images off the GPU, and a smaller '
                'training.batch_size or model.input_size_hw needs less memory')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; exit codes are 0, 1 (error), 2 (invalid arguments), 128 + n (signal n)."""
    options = _parse(arguments)
    # Read when PyTorch is imported. Its threads wait by spinning and lose their time slice to
    # other busy programs: with two runs an epoch of 11 s took over 100 s; with this limit 22 s.
    os.environ.setdefault('GOMP_SPINCOUNT', '2000')
    try:
        return int(options.run(options) or 0)
    except Mbv2SsdError as err:
        message, code = str(err), int(getattr(err, 'exit_code', 1))
    except ModuleNotFoundError as err:
        message = (f'the Python module {err.name!r} is missing; training needs more than the '
                   "detector node: pip install 'mbv2ssd_ros[train]', or in a clone '.[train]'")
        code = 1
    except OSError as err:  # a folder that cannot be written to, a full disk
        message, code = f'{err.filename or "a file"}: {err.strerror or err}', 1
    except RuntimeError as err:
        if type(err).__name__ != 'OutOfMemoryError':  # of PyTorch, which few verbs import
            raise
        message, code = f'{err} {_LESS_MEMORY}', 1
    except KeyboardInterrupt:
        message, code = 'interrupted', 130
    verb = ' '.join([options.verb, *filter(None, [getattr(options, 'data_verb', '')])])
    print(f'mbv2ssd_train {verb}: {one_line(message)}', file=sys.stderr)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse rejects overrides behind an option: train CONFIG --resume key=value
    if 'overrides' in options and all('=' in text and text[0] != '-' for text in rest):
        options.overrides, rest = [*options.overrides, *rest], []
    if rest:
        several = '; does a * match several files? Name one' if any(
            map(os.path.exists, rest)) else ''
        options.parser.error(f'unrecognized arguments: {" ".join(rest)}{several}')
    return options


class _Parser(argparse.ArgumentParser):
    """Errors have the usage of the verb that was typed, and the nearest known word."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self.set_defaults(parser=self)  # that of the innermost verb stays

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with 2."""
        typed = re.search(r"(?:invalid choice: '?|arguments: )([^\s'=]+)", message)
        known = [word for action in self._actions
                 for word in (*action.option_strings, *map(str, action.choices or ()))]
        near = difflib.get_close_matches(typed[1], known, n=1) if typed else []
        super().error(message + (f'; did you mean {near[0]}?' if near else ''))


def _version() -> str:
    try:
        return f'mbv2ssd_train {metadata.version("mbv2ssd_ros")}'
    except metadata.PackageNotFoundError:
        return 'mbv2ssd_train, not installed: run from its source tree'


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='mbv2ssd_train', description='Train MobileNetV2-SSDLite detectors on your own data '
        'and export them as self-describing ONNX files.',
        epilog='From data to the robot: new FOLDER; train FOLDER.yaml; export --checkpoint '
        'runs/.../best.pt --output model.onnx; then set model_path of the detector node.')
    parser.add_argument('--version', action='version', version=_version())
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    for verb in _VERBS:
        verb.add_to(verbs)
    return parser
