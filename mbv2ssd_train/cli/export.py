"""`mbv2ssd_train export`: write the file that the detector node runs."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'export', help='write the ONNX file that the detector node runs',
        description='Write the averaged weights of a checkpoint as a self-describing ONNX file. '
        'It is compared with PyTorch first; a file that computes something else is not written.')
    verb.add_argument('--checkpoint', required=True, help='best.pt or last.pt of a run')
    verb.add_argument('--output', required=True, type=Path, help='of the .onnx file')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.export.onnx_file import export_onnx, TOLERANCE
    from mbv2ssd_train.handover import open_checkpoint
    from mbv2ssd_train.run.checkpoint import load_checkpoint
    parity = export_onnx(open_checkpoint(load_checkpoint(options.checkpoint)), options.output)
    print(f'{options.output}: {options.output.stat().st_size / 1e6:.1f} MB; largest difference '
          f'from PyTorch over {parity.images} images: boxes {parity.boxes:.1e} of the image side, '
          f'scores {parity.scores:.1e} (allowed {TOLERANCE:.0e})')
