"""Models of torchvision as checkpoints of this package: to score, export, and fine-tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
import yaml

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import parse_config, TrainConfig
from mbv2ssd_train.run.checkpoint import Checkpoint
from mbv2ssd_train.weights.files import read_state_dict
from mbv2ssd_train.weights.imported import imported_checkpoint, require_names
from mbv2ssd_train.weights.torchvision.keys import (
    class_columns,
    COCO_CLASSES,
    DETECTORS,
    tail_of,
    TorchvisionDetector,
)


def import_weights(name: str, path: str | Path, classes: Sequence[str] | None = None
                   ) -> Checkpoint:
    """
    Turn weights of a torchvision detector into a checkpoint with the same outputs.

    Args:
        name: of the architecture, a key of keys.DETECTORS.
        path: its state dict, saved by torch or as .safetensors.
        classes: of the score columns after the background; those of COCO by default.

    Raises:
        DataError: the file is missing, or has weights of another model.
        ConfigError: the number of classes is not that of the weights, or a name is invalid.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f'{source}: no such weights; download {name} where there is a network, '
                        'and give the path of the file')
    return convert_weights(name, read_state_dict(source), classes, str(source))


def convert_weights(name: str, weights: Mapping[str, Tensor], classes: Sequence[str] | None,
                    source: str) -> Checkpoint:
    """Turn weights by torchvision's names into a checkpoint; see import_weights."""
    detector = DETECTORS[name]
    try:
        renamed = {detector.rename(key): value.float() if value.is_floating_point() else value
                   for key, value in weights.items()}
        if 'backbone.l2_norm.scale' in renamed:  # (C,) in torchvision
            renamed['backbone.l2_norm.scale'] = renamed['backbone.l2_norm.scale'].reshape(-1, 1, 1)
        return imported_checkpoint(_config(name, detector, renamed, classes, source), renamed)
    except DataError as err:
        raise DataError(f'{source}: not the weights of {name}: {err}') from err


def _config(name: str, detector: TorchvisionDetector, weights: Mapping[str, Tensor],
            classes: Sequence[str] | None, source: str) -> TrainConfig:
    coco = classes is None
    data = {'root': 'coco' if coco else 'unknown', 'train': ['train2017' if coco else 'unknown'],
            'val': 'val2017' if coco else 'unknown',
            'classes': list(COCO_CLASSES if classes is None else classes)}
    config = parse_config(yaml.safe_dump({
        'name': name, 'data': data, 'model': {**detector.model, **tail_of(weights)},
        'experiment': {'description': f'{Path(source).name}, imported from torchvision'}}), source)
    columns = class_columns(weights, len(config.model.prior_levels()[0].shapes_wh))
    require_names(len(config.data.classes), columns, coco, source)
    return config
