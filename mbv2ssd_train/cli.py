"""The program `mbv2ssd_train` and its verbs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import math
import os
from pathlib import Path
import sys
from typing import Any

from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError, Mbv2SsdError
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.evaluate import Evaluation
from mbv2ssd_train.progress import with_progress

_DATA_HELP = ('folder of the data: packed sets (SET.json with SET.part*.zip), a VOCdevkit, or one '
              'VOC tree (JPEGImages, Annotations, ImageSets)')
_SPLIT_HELP = ('packed: SET or SET:PART; VOCdevkit: VOC2007:test; VOC tree: test. '
               'Append @k/n for every n-th image from the k-th, @!k/n (in quotes) for all others')

_CLASSES_HELP = 'object classes (default: those of dataset.yaml, else the 20 of VOC)'


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a verb.

    Args:
        arguments: of the command line; those of the process where None.

    Returns:
        Exit code: 0, 1 after an error, 2 for arguments that are none, 128 + n after signal n.
    """
    options = _parse(arguments)
    # Read when PyTorch is imported. By default its threads wait by spinning, and lose their turn
    # to any other busy program: an epoch of 11 s took over 100 s beside two of them, so 22 s.
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
    except KeyboardInterrupt:
        message, code = 'interrupted', 130
    print(f'mbv2ssd_train {options.verb}: {" ".join(message.split())}', file=sys.stderr)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse gives up overrides that stand behind an option: train CONFIG --resume key=value
    if options.verb == 'train' and all('=' in text and text[0] != '-' for text in rest):
        options.overrides, rest = [*options.overrides, *rest], []
    if rest:
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mbv2ssd_train', description='Train MobileNetV2-SSDLite detectors on your own boxes '
        'and hand them over as one ONNX file that says everything about itself.',
        epilog='From boxes to a robot: train CONFIG; export --checkpoint runs/.../best.pt '
        '--output model.onnx; then set model_path of the detector node.')
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    _add_train(verbs)
    _add_eval(verbs)
    _add_export(verbs)
    _add_quantize(verbs)
    _add_predict(verbs)
    _add_data(verbs)
    return parser


def _add_train(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        'train', help='learn from annotated images',
        description='Train a detector. The run folder RUNS/NAME_FINGERPRINT holds the whole '
        'configuration, metrics.jsonl, status.json and the checkpoints last.pt and best.pt.')
    verb.add_argument('config', help='YAML; config/train/ has examples')
    verb.add_argument('overrides', nargs='*', metavar='key.path=value',
                      help='replace a value of the file, e.g. training.epochs=5')
    verb.add_argument('--runs', type=Path, default=Path('runs'), help='parent of the run folders')
    verb.add_argument('--resume', action='store_true', help='go on with this very experiment')
    verb.add_argument('--print-config', action='store_true',
                      help='print every key with its value and meaning, as YAML, and stop')
    verb.add_argument('--dry-run', action='store_true',
                      help='build everything, make one step, print sizes and stop')
    verb.set_defaults(run=_train)


def _add_eval(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        'eval', help='measure mAP of a checkpoint or an ONNX file',
        description="Measure VOC mAP@0.5 with the detector node's own resize, thresholds and NMS. "
        'Objects marked difficult are ignored, as the VOC devkit does.')
    _add_model(verb)
    verb.add_argument('--data', required=True, help=_DATA_HELP)
    verb.add_argument('--split', required=True, help=_SPLIT_HELP)
    verb.add_argument('--json', type=Path, help='write the figures to this file')
    _add_settings(verb, score_threshold=0.02, max_detections=200)
    verb.set_defaults(run=_eval)


def _add_export(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        'export', help='write the ONNX file that the detector node runs',
        description='Write the averaged weights of a checkpoint as a self-describing ONNX file. '
        'It is compared with PyTorch first; a file that computes something else is not written.')
    verb.add_argument('--checkpoint', required=True, help='best.pt or last.pt of a run')
    verb.add_argument('--output', required=True, type=Path, help='of the .onnx file')
    verb.set_defaults(run=_export)


def _add_quantize(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        'quantize', help='write an INT8 copy of a model and say what it costs',
        description='Quantise an exported model after training. Prints mAP, size and latency of '
        'both files on the same images; exit code 1 when more mAP is lost than allowed. The two '
        'targets need different files: that for TensorRT is slower than float32 on a CPU.')
    verb.add_argument('--model', required=True, type=Path, help='float32 .onnx file')
    verb.add_argument('--output', required=True, type=Path, help='of the INT8 .onnx file')
    verb.add_argument('--target', required=True, choices=('cpu', 'tensorrt'),
                      help='cpu: ONNX Runtime; tensorrt: symmetric, Q/DQ where TensorRT fuses')
    verb.add_argument('--data', required=True, help=_DATA_HELP)
    verb.add_argument('--calibration-split', required=True,
                      help='training images, to measure the ranges of activations on')
    verb.add_argument('--split', required=True, help='to measure mAP on. ' + _SPLIT_HELP)
    verb.add_argument('--images', type=int, default=300, help='for calibration, default 300')
    verb.add_argument('--seed', type=int, default=0, help='of their choice, default 0')
    # 0.6 points lost on 501 held-out VOC images; entropy 0.8 to 1.1, minmax 0.9 to 1.1
    verb.add_argument('--method', default='percentile',
                      choices=('minmax', 'entropy', 'percentile'),
                      help='of calibration, default percentile')
    verb.add_argument('--max-drop', type=float, default=1.0,
                      help='mAP points that may be lost, default 1.0')
    verb.add_argument('--json', type=Path, help='write the figures to this file')
    _add_settings(verb, score_threshold=0.02, max_detections=200)
    verb.set_defaults(run=_quantize)


def _add_predict(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        'predict', help='detect in image files',
        description='Write annotated copies of images and detections.json.')
    _add_model(verb)
    verb.add_argument('inputs', nargs='+', help='image files or folders')
    verb.add_argument('--output', type=Path, default=Path('predictions'), help='folder')
    _add_settings(verb, score_threshold=0.35, max_detections=100)
    verb.set_defaults(run=_predict)


def _add_data(verbs: argparse._SubParsersAction) -> None:
    data = verbs.add_parser('data', help='look after data sets').add_subparsers(
        dest='data_verb', required=True, metavar='VERB')
    check = data.add_parser(
        'check', help='find every fault before training does',
        description='Read all annotations and decode all images of a split; print every fault '
        'with its file and line. Exit code 1 when there is one.')
    check.add_argument('--data', required=True, help=_DATA_HELP)
    check.add_argument('--split', required=True, help=_SPLIT_HELP)
    check.add_argument('--classes', nargs='+', help=_CLASSES_HELP)
    check.set_defaults(run=_data_check)
    cache = data.add_parser(
        'cache', help='pack a split into a few files',
        description='Write a split as a packed set: NAME.json and NAME.part1.zip with images '
        'reduced to the size that training needs. Train from it with data.root=OUTPUT.')
    cache.add_argument('--data', required=True, help=_DATA_HELP)
    cache.add_argument('--split', required=True, help=_SPLIT_HELP)
    cache.add_argument('--output', required=True, type=Path, help='folder')
    cache.add_argument('--name', required=True, help='of the packed set')
    cache.add_argument('--classes', nargs='+', help=_CLASSES_HELP)
    cache.add_argument('--longest-side', type=int, default=360, help='pixels (default 360)')
    cache.add_argument('--quality', type=int, default=60, help='of WebP, 1 to 100 (default 60)')
    cache.set_defaults(run=_data_cache)


def _add_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument('--model', required=True, help='an .onnx file or a .pt checkpoint')


def _add_settings(verb: argparse.ArgumentParser, score_threshold: float, max_detections: int
                  ) -> None:
    verb.add_argument('--score-threshold', type=float, default=score_threshold,
                      help=f'default {score_threshold}')
    verb.add_argument('--nms-iou', type=float, default=0.45, help='default 0.45')
    verb.add_argument('--max-detections', type=int, default=max_detections,
                      help=f'for an image, default {max_detections}')


def _settings(options: argparse.Namespace) -> DetectionSettings:
    return DetectionSettings(
        score_threshold=options.score_threshold, nms_iou=options.nms_iou,
        max_detections=options.max_detections)


def _train(options: argparse.Namespace) -> None:
    from mbv2ssd_train.config import load_config
    config = load_config(options.config, tuple(options.overrides))
    if options.print_config:
        print(config.to_explained_yaml(), end='')
        return
    # Imported here: only this needs PyTorch's training half.
    from mbv2ssd_train.dry_run import dry_run
    from mbv2ssd_train.engine import Trainer
    if options.dry_run:
        for line in dry_run(config):
            print(line)
        return
    trainer = Trainer(config, options.runs, options.resume)
    print(f'{trainer.folder.path}: {trainer.describe()}')
    print(f'look at what it learns from: {trainer.draw_first_batch()}')
    trainer.run()
    print(f'best mAP@0.5 {trainer.best_map:.4f} on {config.data.val}: {trainer.folder.best}\n'
          f'next: mbv2ssd_train export --checkpoint {trainer.folder.best} --output model.onnx')


def _eval(options: argparse.Namespace) -> None:
    from mbv2ssd_train.data.sources import open_dataset
    from mbv2ssd_train.evaluate import evaluate
    from mbv2ssd_train.models import open_model
    backend = open_model(options.model)
    dataset = open_dataset(options.data, options.split, backend.contract.object_names)
    _refuse_training_data(backend.contract.provenance.config, options, dataset)
    result = evaluate(backend, dataset, _settings(options), with_progress('evaluate'))
    _print_evaluation(result)
    if options.json:
        _write_json(options.json, {'model': options.model, **result.to_dict()})


def _export(options: argparse.Namespace) -> None:
    from mbv2ssd_train.checkpoint import load_checkpoint
    from mbv2ssd_train.export.onnx_file import export_onnx, TOLERANCE
    from mbv2ssd_train.handover import open_checkpoint
    parity = export_onnx(open_checkpoint(load_checkpoint(options.checkpoint)), options.output)
    print(f'{options.output}: {options.output.stat().st_size / 1e6:.1f} MB; largest difference '
          f'from PyTorch over {parity.images} images: boxes {parity.boxes:.1e} of the image side, '
          f'scores {parity.scores:.1e} (allowed {TOLERANCE:.0e})')


def _quantize(options: argparse.Namespace) -> int:
    from mbv2ssd_train.data.dataset import refuse_overlap
    from mbv2ssd_train.data.sources import open_dataset
    from mbv2ssd_train.models import open_model
    from mbv2ssd_train.quantize.calibration import CalibrationImages, choose_images, list_hash
    from mbv2ssd_train.quantize.comparison import compare
    from mbv2ssd_train.quantize.ptq import quantize_onnx
    contract = open_model(options.model).contract
    calibration, measured = (
        open_dataset(options.data, split, contract.object_names)
        for split in (options.calibration_split, options.split))
    refuse_overlap([calibration], measured)
    _refuse_training_data(contract.provenance.config, options, measured)
    chosen = choose_images(calibration, options.images, options.seed)
    note = (f'INT8 for {options.target}: {options.method} over {len(chosen)} images of '
            f'{options.calibration_split} (list {list_hash(calibration, chosen)})')
    print(note)
    quantize_onnx(options.model, options.output,
                  CalibrationImages(calibration, chosen, contract), options.target,
                  options.method, note)
    result = compare(options.model, options.output, measured, _settings(options),
                     with_progress('evaluate'))
    for figures in (result.float_model, result.int8_model):
        print(f'  {figures.path:<32} mAP@0.5 {figures.map_50:.4f}   {figures.megabytes:5.1f} MB   '
              f'{figures.infer_ms:6.2f} ms an image on one CPU thread')
    print(f'{result.drop:.2f} points lost on {result.split}, {result.images} images '
          f'(allowed {options.max_drop:g})')
    if options.json:
        _write_json(options.json, {'note': note, **result.to_dict()})
    return 1 if result.drop > options.max_drop else 0


def _predict(options: argparse.Namespace) -> None:
    from mbv2ssd_train.models import open_model
    from mbv2ssd_train.predict import find_images, predict
    found = predict(open_model(options.model), find_images(options.inputs), _settings(options),
                    options.output, with_progress('predict'))
    for name, detections in found.items():
        listed = ', '.join(f'{d["label"]} {d["score"]:.2f}' for d in detections)
        print(f'{name}: {listed or "nothing"}')
    print(f'annotated images and detections.json are in {options.output}/')


def _data_check(options: argparse.Namespace) -> int:
    from mbv2ssd_train.data.check import check_dataset
    report = check_dataset(options.data, options.split, _classes(options), with_progress('check'))
    for name, count in report.objects_per_class.items():
        print(f'  {name:<14} {count} objects')
    for remark in report.remarks:
        print(f'remark: {remark}')
    for fault in report.faults:
        print(f'fault: {fault}')
    print(f'{report.split}: {report.images} images, {report.images_without_objects} of them '
          f'without objects; {report.objects} objects; {len(report.faults)} faults')
    return 1 if report.faults else 0


def _classes(options: argparse.Namespace) -> Sequence[str]:
    from mbv2ssd_train.config import VOC_CLASSES
    from mbv2ssd_train.data.description import FILE_NAME, read_description
    if options.classes:
        return list(options.classes)
    folder = Path(options.data)
    return read_description(folder).classes if (folder / FILE_NAME).is_file() else VOC_CLASSES


def _data_cache(options: argparse.Namespace) -> None:
    from mbv2ssd_train.data.packed import write_packed
    from mbv2ssd_train.data.sources import open_dataset
    if options.longest_side < 1 or not 1 <= options.quality <= 100:
        raise ConfigError(f'--longest-side {options.longest_side} must be positive and --quality '
                          f'{options.quality} between 1 and 100')
    dataset = open_dataset(options.data, options.split, _classes(options))
    path = write_packed(
        dataset, options.output, options.name, options.split, options.longest_side,
        options.quality, lambda items: with_progress('pack')(items, len(dataset)))
    print(f'{path}: {len(dataset)} images')


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding='utf-8')


def _refuse_training_data(config_yaml: str, options: argparse.Namespace, measured: Dataset
                          ) -> None:
    """Refuse to score a model on the images it learnt from, as far as its data are at hand."""
    from mbv2ssd_train.config import parse_config
    from mbv2ssd_train.data.dataset import refuse_overlap
    from mbv2ssd_train.data.sources import open_dataset
    try:
        data = parse_config(config_yaml, options.model).data
    except ConfigError as err:
        print(f'note: not compared with the images that the model learnt from: {err}',
              file=sys.stderr)
        return
    # where it was trained, else where the data may have been moved to
    roots = [root for root in dict.fromkeys((data.root, options.data)) if Path(root).is_dir()]
    learnt = []
    for split in data.train:
        for root in roots:
            try:
                learnt.append(open_dataset(root, split, data.classes))
                break
            except (ConfigError, DataError):
                continue
        else:
            print(f'note: the training split {split} is not in {" or ".join(roots)}; not compared '
                  'with the images measured here', file=sys.stderr)
    refuse_overlap(learnt, measured)


def _print_evaluation(result: Evaluation) -> None:
    for label, curve in result.curves.items():
        if not math.isnan(curve.average_precision):
            print(f'  {result.class_names[label - 1]:<14} AP {curve.average_precision:.3f}   '
                  f'{curve.num_objects} objects')
    print(f'mAP@0.5 {result.map_50:.4f} (area), {result.map_50_11point:.4f} (11-point) on '
          f'{result.split}, {result.images} images')
