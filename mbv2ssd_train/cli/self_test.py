"""`mbv2ssd_train self-test`: add the self-test that backends run to a model file."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'self-test', help='add or replace the self-test of a model file',
        description='export and quantize write a self-test into each model file: two small '
        'images and the expected outputs, computed in float without fused kernels. Every backend '
        'runs it when it loads the file. This verb adds or replaces the self-test of a file and '
        'prints the differences on this machine. The graph is not changed.')
    verb.add_argument('--model', required=True, type=Path, nargs='+', metavar='FILE',
                      help='.onnx files; changed in place')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.output_summary import LIMITS, NAMES
    from mbv2ssd_ros.core.processor import describe_processor
    from mbv2ssd_train.onnx_files.model_file import renew_self_test
    for path in options.model:
        contract, found = renew_self_test(path)
        limit = LIMITS[contract.precision]
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB with a self-test; {contract.precision} '
              f'on {describe_processor()}:')
        for name, share in found.shares(limit).items():
            print(f'  {NAMES[name]:<40} {getattr(found, name):8.2g}   allowed '
                  f'{getattr(limit, name):<6g} {100 * share:3.0f} %')
