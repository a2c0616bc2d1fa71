"""Options that several verbs share, and their use."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from mbv2ssd_ros.core import durable
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.data.dataset import Dataset

DATA_HELP = ('folder of the data: one with a dataset.yaml, a VOC tree (JPEGImages, Annotations, '
             'ImageSets), a VOCdevkit, COCO (annotations/instances_SPLIT.json), caches '
             '(SET.cache) or packed sets (SET.json with SET.part*.zip)')
SPLIT_HELP = ('VOC tree: test; VOCdevkit: VOC2007:test; COCO: val2017; cache: SET; packed: SET or '
              'SET:PART; else a split of the dataset.yaml. '
              'Append @k/n for every n-th image from the k-th, @!k/n (in quotes) for all others')

CLASSES_HELP = 'object classes (default: those of dataset.yaml, else the 20 of VOC)'


def add_model(verb: argparse.ArgumentParser) -> None:
    """Add the option that names a model."""
    verb.add_argument('--model', required=True, help='an .onnx file or a .pt checkpoint')


def add_runs(verb: argparse.ArgumentParser) -> None:
    """Add the option for the folder of runs."""
    verb.add_argument('--runs', type=Path, default=Path('runs'),
                      help='parent of the run folders, default runs')


def add_settings(verb: argparse.ArgumentParser, score_threshold: float, max_detections: int,
                 score_help: str = 'of a detection') -> None:
    """Add the options that define a detection, with their defaults."""
    verb.add_argument('--score-threshold', type=float, default=score_threshold,
                      help=f'{score_help}; default {score_threshold}')
    verb.add_argument('--nms-iou', type=float, default=0.45,
                      help='of two boxes of a class that overlap by more the better one stays; '
                      'default 0.45')
    verb.add_argument('--max-detections', type=int, default=max_detections,
                      help=f'for an image, default {max_detections}')


def detection_settings(options: argparse.Namespace) -> DetectionSettings:
    """Return the settings from the options of add_settings."""
    return DetectionSettings(
        score_threshold=options.score_threshold, nms_iou=options.nms_iou,
        max_detections=options.max_detections)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write figures to a file; its folder is created where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_json(path, value)


def refuse_training_data(config_yaml: str, options: argparse.Namespace, measured: Dataset
                         ) -> None:
    """Refuse to score a model on its training images, where its data are available."""
    from mbv2ssd_train.config import parse_data_section
    from mbv2ssd_train.data.dataset import refuse_overlap
    from mbv2ssd_train.data.sources.open import open_dataset
    try:
        data = parse_data_section(config_yaml, options.model)
    except ConfigError as err:
        print(f'note: not compared with the images that the model learnt from: {err}',
              file=sys.stderr)
        return
    # in the place of training, else in the new place of the data
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
