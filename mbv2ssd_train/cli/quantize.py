"""`mbv2ssd_train quantize`: write an INT8 copy of a model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
import sys

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.shipped import find_model
from mbv2ssd_train.cli.options import (
    add_settings,
    DATA_HELP,
    detection_settings,
    HelpFormatter,
    refuse_learnt_images,
    SPLIT_HELP,
    write_json,
)
from mbv2ssd_train.process.progress import ProgressBar, with_progress


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'quantize', help='write an INT8 copy of a model and measure its cost',
        description='Quantise an exported model after training. Prints mAP, size and latency of '
        'both files on the same images, and the processor; exit code 1 if the drop in mAP exceeds '
        '--max-drop. The targets need different files. A file for TensorRT is slower than float32 '
        'on a CPU, and is not written if it violates a rule of TensorRT. The weights of a file '
        'for a CPU saturate on no processor.',
        formatter_class=HelpFormatter,
        epilog='example:\n'
               '  mbv2ssd_train quantize --model model.onnx --output int8.onnx --target cpu \\\n'
               '      --data DATA --calibration-split train --split val')
    verb.add_argument('--model', required=True, type=Path,
                      help='float32 .onnx file, or the name of a model of the package')
    verb.add_argument('--output', required=True, type=Path, help='INT8 .onnx file to write')
    verb.add_argument('--target', required=True, choices=('cpu', 'tensorrt'),
                      help='cpu: ONNX Runtime; tensorrt: symmetric, Q/DQ where TensorRT fuses')
    verb.add_argument('--data', required=True, help=DATA_HELP)
    verb.add_argument('--calibration-split', required=True,
                      help='training images for the calibration of activation ranges')
    verb.add_argument('--split', required=True, help='images for mAP. ' + SPLIT_HELP)
    verb.add_argument('--images', type=int, default=300, help='number of calibration images, '
                      'default 300')
    verb.add_argument('--seed', type=int, default=0, help='seed that chooses the calibration '
                      'images, default 0')
    # 0.6 points lost on 501 held-out VOC images; entropy 0.8 to 1.1, minmax 0.9 to 1.1
    verb.add_argument('--method', default='percentile',
                      choices=('minmax', 'entropy', 'percentile'),
                      help='calibration method, default percentile')
    verb.add_argument('--max-drop', type=float, default=1.0,
                      help='allowed drop in mAP, in points, default 1.0')
    verb.add_argument('--json', type=Path, help='write the figures to this file')
    add_settings(verb, score_threshold=0.02, max_detections=200)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import numpy as np

    from mbv2ssd_train.data.dataset import refuse_overlap
    from mbv2ssd_train.data.identity import keep
    from mbv2ssd_train.data.sources.open import open_dataset
    from mbv2ssd_train.deploy.open_model import open_model
    from mbv2ssd_train.quantize.calibration import (
        CalibrationImages,
        choose_images,
        list_hash,
        unseen_classes,
    )
    from mbv2ssd_train.quantize.comparison import compare
    from mbv2ssd_train.quantize.ptq import METHODS, quantize_onnx
    options.model = find_model(str(options.model))
    if options.model.suffix != '.onnx':
        raise ConfigError(f'--model {options.model}: expected an exported model (.onnx); make one '
                          'with mbv2ssd_train export')
    if not math.isfinite(options.max_drop):  # every drop would pass
        raise ConfigError(f'--max-drop {options.max_drop:g} is no number of points, such as 1.0')
    if options.output.resolve() == options.model.resolve():
        raise ConfigError(f'--output {options.output}: would overwrite the model; '
                          'choose another --output')
    contract = open_model(options.model).contract
    calibration, measured = (
        open_dataset(options.data, split, contract.object_names)
        for split in (options.calibration_split, options.split))
    refuse_overlap([calibration], measured)
    chosen = choose_images(calibration, options.images, options.seed)
    refuse_learnt_images(options.model, contract.provenance.config, options.data, measured,
                         calibration=keep(calibration, np.isin(range(len(calibration)), chosen)))
    note = (f'INT8 for {options.target}: {options.method} over {len(chosen)} images of '
            f'{options.calibration_split} (list {list_hash(calibration, chosen)})')
    print(note)
    if unseen := unseen_classes(calibration, chosen):
        print(f'note: no calibration image shows {", ".join(unseen)}', file=sys.stderr)
    with ProgressBar('calibrate', len(chosen)) as bar:
        images = CalibrationImages(calibration, chosen, contract, bar.advance)
        quantize_onnx(options.model, options.output, images, options.target, options.method, note,
                      images.portion())
    result = compare(options.model, options.output, measured, detection_settings(options),
                     with_progress('evaluate'))
    print('  no rule of TensorRT is violated' if options.target == 'tensorrt' else
          '  no products saturate: the same integers on every processor')
    for figures in (result.float_model, result.int8_model):
        print(f'  {figures.path:<32} mAP@0.5 {figures.map_50:.4f}   {figures.megabytes:5.1f} MB   '
              f'{figures.infer_ms:6.2f} ms an image on one CPU thread')
    print(f'measured on {result.processor}, ONNX Runtime {result.onnxruntime}')
    print(f'{result.drop:.2f} points lost on {result.split}, {result.images} images '
          f'(allowed {options.max_drop:g})')
    low, high = result.drop_interval
    if result.is_small:
        print(f'few images: with 95 % of other choices of {result.images} images the loss is '
              f'between {low:.2f} and {high:.2f} points; a larger --split is more certain')
    if options.json:
        write_json(options.json, {'note': note, **result.to_dict()})
    if result.drop <= options.max_drop:
        return 0
    others = [name for name in METHODS if name != options.method]
    print(f'more than --max-drop {options.max_drop:g}. To lose less: another --method '
          f'({", ".join(others)}); more --images (now {len(chosen)}); train on with '
          f'{"quantize.ranges_from" if options.target == "tensorrt" else "quantize.weights_only"} '
          '(docs/training.md); and measure on the processor of the robot, '
          'as saturation and rounding depend on it', file=sys.stderr)
    return 1
