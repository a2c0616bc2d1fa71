"""Options that several verbs share, and their use."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from mbv2ssd_ros.core import durable
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.shipped import DEFAULT_MODEL, find_model
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.process.progress import with_progress

DATA_HELP = ('folder of the data: images with annotations of VOC, COCO, YOLO, CSV, labelme or '
             'Label Studio, which are recognised; one with a dataset.yaml; caches (SET.cache) or '
             'packed sets (SET.json with SET.part*.zip)')
SPLIT_HELP = ('a list, file or folder of the data, such as train or test, or all; VOCdevkit: '
              'VOC2007:test; cache: SET; packed: SET or SET:PART. '
              'Append @hash:k/n for one n-th of the images, chosen by their names, or @k/n for '
             'every n-th from the k-th; @!hash:k/n and @!k/n (in quotes) for all others')

CLASSES_HELP = 'object classes, as A B or A,B (default: those of the data)'


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fill the description, and keep the lines of the epilog, which has examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if '\n' in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def add_data(verb: argparse.ArgumentParser, classes: bool = False) -> None:
    """Add the required options that name a split, and optionally its classes."""
    verb.add_argument('--data', required=True, help=DATA_HELP)
    verb.add_argument('--split', required=True, help=SPLIT_HELP)
    if classes:
        verb.add_argument('--classes', nargs='+', help=CLASSES_HELP)


def add_overrides(verb: argparse.ArgumentParser, example: str) -> None:
    """Add the positional values that replace keys of a configuration."""
    verb.add_argument('overrides', nargs='*', metavar='key.path=value',
                      help=f'replace a value of the configuration, e.g. {example}')


def add_model(verb: argparse.ArgumentParser) -> None:
    """Add the options that name a model; chosen_model reads them."""
    source = verb.add_mutually_exclusive_group()
    source.add_argument('--model', default='', help='an .onnx file, a .pt checkpoint, a run '
                        'folder (its best checkpoint), or the name of a model that comes with the '
                        f'package; default {DEFAULT_MODEL}')
    add_run(source)
    add_runs(verb)


def add_run(verb: argparse._ActionsContainer) -> None:
    """Add the option that names a run for its best checkpoint."""
    verb.add_argument('--run', dest='run_folder', metavar='FOLDER', help='the best checkpoint of '
                      'a run: its folder, or latest (of --runs)')


def chosen_model(options: argparse.Namespace) -> Path:
    """Return the file that the options of add_model name; ConfigError where there is none."""
    if options.run_folder:
        from mbv2ssd_train.run.folder import latest_run
        return best_of(latest_run(options.runs) if options.run_folder == 'latest'
                       else Path(options.run_folder), '--run')
    path = Path(options.model).expanduser()
    if options.model and path.is_dir():
        return best_of(path, '--model')
    if options.model and path.suffix != '.onnx':
        return path
    try:
        return find_model(options.model)
    except ConfigError as err:
        raise ConfigError(f'--model {err}') from err


def best_of(run: Path, option: str) -> Path:
    """Return the best checkpoint of a run; ConfigError where it has none."""
    path = run / 'checkpoints' / 'best.pt'
    if not path.is_file():
        last = run / 'checkpoints' / 'last.pt'
        hint = (f'no evaluation was made yet; name {last}' if last.is_file() else
                'it is no run with a checkpoint; `mbv2ssd_train runs` lists them')
        raise ConfigError(f'{option} {run}: has no checkpoints/best.pt: {hint}')
    return path


def add_runs(verb: argparse.ArgumentParser) -> None:
    """Add the option for the folder of runs."""
    verb.add_argument('--runs', type=Path, default=Path('runs'),
                      help='folder that contains the run folders, default runs')


def add_settings(verb: argparse.ArgumentParser, score_threshold: float, max_detections: int,
                 score_help: str = 'lowest score of a detection') -> None:
    """Add the options that define a detection, with their defaults."""
    verb.add_argument('--score-threshold', type=float, default=score_threshold,
                      help=f'{score_help}; default {score_threshold}')
    verb.add_argument('--nms-iou', type=float, default=0.45,
                      help='IoU above which NMS removes the lower-scored of two boxes of a '
                      'class; default 0.45')
    verb.add_argument('--max-detections', type=int, default=max_detections,
                      help=f'most detections in an image, default {max_detections}')


def detection_settings(options: argparse.Namespace) -> DetectionSettings:
    """Return the settings from the options of add_settings."""
    return DetectionSettings(
        score_threshold=options.score_threshold, nms_iou=options.nms_iou,
        max_detections=options.max_detections)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write figures to a file; its folder is created where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_json(path, value)


def refuse_learnt_images(model: str | Path, config_yaml: str, root: str, measured: Dataset,
                         skip: bool = False, calibration: Dataset | None = None) -> Dataset:
    """
    Return the images that a model may be measured on: those it did not learn from.

    Raises DataError where it learnt from one, or `calibration` has it, unless they are to be
    skipped. A model that does not say what it learnt from is compared by the names in its training
    splits. Notes report what is skipped, near copies, and what cannot be checked.
    """
    from mbv2ssd_train.data.dataset import refuse_overlap
    from mbv2ssd_train.data.identity import identify, keep, Learnt, names_of, no_images
    from mbv2ssd_train.deploy.open_model import read_learnt
    learnt = read_learnt(model)
    if learnt is None:
        refuse_overlap(_training_splits(model, config_yaml, root), measured)
        _note(f'{model} does not record which images it learnt from; its training splits were '
              'compared by name')
        if calibration is None:
            return measured
    known = learnt or Learnt(no_images())
    for name in known.unknown:
        _note(f'{model} began with {name}, which does not say which images it learnt from')
    images = identify(measured, with_progress('compare with the learnt images'))
    if calibration:
        known |= Learnt(identify(calibration, with_progress('identify calibration images')))
    same, alike, total = known.same(images), known.alike(images), len(measured)
    if same.any() and not skip:
        raise DataError(
            f'{model}: learnt from {same.sum()} of the {total} images of {measured.name}: '
            f'{names_of(measured, same)}; figures measured there would be worthless. Choose '
            'another --split, or see `eval --skip-learnt`')
    if alike.any():
        _note(f'{alike.sum()} of {total} images of {measured.name} look like learnt ones: '
              f'{names_of(measured, alike)}')
    if not skip:
        return measured
    chosen = ~(same | alike)
    if not chosen.all():
        _note(f'{(~chosen).sum()} of {total} images of {measured.name} are skipped: learnt, or '
              'like learnt ones')
    return keep(measured, chosen)


def _training_splits(model: str | Path, config_yaml: str, root: str) -> list[Dataset]:
    """Open those found in the folder that a model was trained from, else in `root`."""
    from mbv2ssd_train.config import parse_data_section
    from mbv2ssd_train.data.sources.open import open_dataset
    try:
        data = parse_data_section(config_yaml, str(model))
    except ConfigError as err:
        _note(f'overlap with the training images is not checked: {err}')
        return []
    roots = [each for each in dict.fromkeys((data.root, root)) if Path(each).is_dir()]
    found = []
    for split in data.train:
        for each in roots:
            try:
                found.append(open_dataset(each, split, data.classes))
                break
            except (ConfigError, DataError):
                continue
        else:
            _note(f'the training split {split} is not in {" or ".join(roots)}; overlap with the '
                  'measured images is not checked')
    return found


def _note(text: str) -> None:
    print(f'note: {text}', file=sys.stderr)
