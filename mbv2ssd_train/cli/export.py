"""`mbv2ssd_train export`: write the file that the detector node runs."""

from __future__ import annotations

import argparse
from pathlib import Path
import tempfile
from typing import TYPE_CHECKING

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.options import add_run, add_runs, chosen_model, DATA_HELP, SPLIT_HELP
from mbv2ssd_train.process.progress import ProgressBar

if TYPE_CHECKING:
    from mbv2ssd_train.deploy.torch_backend import TorchBackend


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'export', help='write the ONNX file that the detector node runs',
        description='Write the averaged weights of a checkpoint as a self-describing ONNX file, '
        'or convert such a file to float16 for a GPU. The outputs are compared with PyTorch, or '
        'with the float32 file, and a file that differs is not written. A checkpoint trained '
        'with quantize.ranges_from becomes an INT8 file for TensorRT.')
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument('--checkpoint', help='best.pt or last.pt of a run, or its folder')
    add_run(source)
    source.add_argument('--model', type=Path,
                        help='float32 .onnx file, for --precision fp16 and fp16-weights')
    add_runs(verb)
    verb.add_argument('--output', required=True, type=Path, help='.onnx file to write')
    verb.add_argument('--precision', choices=('fp32', 'fp16', 'fp16-weights'), default='fp32',
                      help='fp16: half the size, for TensorRT; input stays uint8, and boxes '
                      'and scores are still computed in float32. fp16-weights: half the size, '
                      'everything is computed in float32. Default fp32')
    verb.add_argument('--data', help='images for the comparison of float16, instead of synthetic '
                      f'ones. {DATA_HELP}')
    verb.add_argument('--split', help=f'split of --data. {SPLIT_HELP}')
    verb.add_argument('--images', type=int, default=50, help='number of images of --split, '
                      'default 50')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.precision == 'fp32' and (options.model or options.data or options.split):
        raise ConfigError('--model, --data and --split are for --precision fp16 and fp16-weights; '
                          'a float32 export is compared with PyTorch on built-in images')
    if bool(options.data) != bool(options.split):
        raise ConfigError('--data and --split belong together')
    if options.model:
        _export_float16(options.model, options)
        return
    from mbv2ssd_train.deploy.contract import open_checkpoint
    from mbv2ssd_train.run.checkpoint import load_checkpoint
    options.model = options.checkpoint
    options.checkpoint = str(chosen_model(options))
    backend = open_checkpoint(load_checkpoint(options.checkpoint))
    is_int8 = backend.contract.precision == 'int8'
    if options.precision != 'fp32':
        if is_int8:
            raise ConfigError(f'{options.checkpoint}: quantization-aware, exported as INT8; '
                              'leave --precision out')
        with tempfile.TemporaryDirectory() as folder:
            float32 = Path(folder) / options.output.name
            print(f'in float32: {_export(backend, float32)}')
            _export_float16(float32, options)
    elif is_int8:
        from mbv2ssd_train.quantize.learnt import export_learnt
        found = export_learnt(backend, options.output)
        print(f'{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, INT8 for '
              f'TensorRT; the file and PyTorch: {found}')
    else:
        parity = _export(backend, options.output)
        print(f'{options.output}: {options.output.stat().st_size / 1e6:.1f} MB; {parity}')


def _export(backend: TorchBackend, output: Path) -> str:
    from mbv2ssd_train.export.onnx_file import export_onnx, STAGES, TEST_IMAGES, TOLERANCE
    with ProgressBar('export', STAGES) as bar:
        found = export_onnx(backend, output, bar.advance)
    return (f'largest difference from PyTorch over {TEST_IMAGES} images: boxes '
            f'{found.box_max:.1e} of the image side, scores {found.score_max:.1e} (allowed '
            f'{TOLERANCE:.0e})')


def _export_float16(source: Path, options: argparse.Namespace) -> None:
    from mbv2ssd_train.export.float16_file import export_float16, store_weights_in_float16
    from mbv2ssd_train.onnx_files.check_images import images_of
    from mbv2ssd_train.onnx_files.model_file import read_float32
    _, contract = read_float32(source, 'convert')
    dataset = None
    if options.data:
        from mbv2ssd_train.data.sources.open import open_dataset
        dataset = open_dataset(options.data, options.split, contract.object_names)
    write, precision = {
        'fp16': (export_float16, 'float16'),
        'fp16-weights': (store_weights_in_float16, 'float32 with weights stored in float16'),
    }[options.precision]
    found = write(source, options.output, images_of(dataset, options.images, contract))
    kind = f'images of {options.split}' if dataset else 'synthetic images'
    print(f'{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, {precision}; on '
          f'{found.images} {kind} {found.detections - found.alone} of {found.detections} '
          f'detections have a partner in float32; they overlap by {found.iou_mean:.4f} on '
          f'average, their scores differ by {found.pair_score_mean:.4f}')
