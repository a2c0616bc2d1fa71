"""Weights of other packages, under this package's names, as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from mbv2ssd_ros.core.contract import BACKGROUND
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.run.checkpoint import Checkpoint, RunState


def imported_checkpoint(config: TrainConfig, weights: Mapping[str, Tensor]) -> Checkpoint:
    """Make a checkpoint; DataError if a weight is missing, unknown or of another shape."""
    network = build_network(config)
    lacking = sorted(set(network.state_dict()) - set(weights))
    if lacking:
        raise DataError(f'it lacks {len(lacking)} tensors, such as {lacking[0]}')
    try:
        network.load_state_dict(weights)
    except RuntimeError as err:
        raise DataError(' '.join(str(err).split())[:300]) from err
    loaded = network.state_dict()
    return Checkpoint(
        config=config.to_yaml(), class_names=config.data.classes,
        fingerprints=config.fingerprints(),
        state=asdict(RunState()), model=loaded, averaged=loaded, learner={}, random={},
        map_50=None)


def require_names(names: int, columns: int, coco: bool, source: str) -> None:
    """Raise ConfigError unless every class of the `columns` (with background) has a name."""
    if columns - 1 != names:
        named = "COCO's" if coco else 'given'
        raise ConfigError(
            f'{source}: scores {columns - 1} classes and the background, but there are '
            f'{names} {named} names; name its classes with --classes, in the '
            f'order of its labels and without {BACKGROUND!r}')
