"""From a trained network to the deployed graph and its contract."""

from __future__ import annotations

import torch

from mbv2ssd_ros.core.contract import (
    BACKGROUND,
    ModelContract,
    NOT_MEASURED,
    Provenance,
    SCHEMA_VERSION,
)
from mbv2ssd_ros.core.errors import DataError, one_line
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.model.fake_quantise import keep_rounded_weights
from mbv2ssd_train.model.quantization_aware import simulate_integer_weights, simulate_integers
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.run.checkpoint import Checkpoint
from mbv2ssd_train.run.environment import package_version


def build_network(config: TrainConfig) -> SSD:
    """Build the network of a configuration, with random weights and without ranges."""
    network = SSD(config.model, config.score_columns, config.sigmoid_scores)
    if config.is_quantization_aware:
        return simulate_integers(network)
    return simulate_integer_weights(network) if config.quantize.weights_only else network


def build_contract(config: TrainConfig, map_50: float | None) -> ModelContract:
    """Build the contract of a configuration; map_50 is mAP@0.5 on config.data.val, if measured."""
    return ModelContract(
        schema_version=SCHEMA_VERSION,
        input_size_hw=config.model.input_size_hw,
        channel_order='rgb',
        resize_mode=config.model.resize_mode,
        class_names=config.data.classes if config.sigmoid_scores
        else (BACKGROUND, *config.data.classes),
        background_index=None if config.sigmoid_scores else 0,
        priors_per_level=tuple(level.count for level in config.model.prior_levels()),
        arch_fingerprint=config.arch_fingerprint(),
        precision='int8' if config.is_quantization_aware else 'fp32',
        provenance=Provenance(
            package_version=package_version() or 'not installed', config=config.to_yaml(),
            datasets=config.data.train,
            metric=NOT_MEASURED if map_50 is None else f'map_50 on {config.data.val}',
            metric_value=map_50))


def open_checkpoint(checkpoint: Checkpoint, device: torch.device | None = None) -> TorchBackend:
    """Open a checkpoint's averaged weights; DataError if its configuration does not fit."""
    config = checkpoint.parsed_config()
    network = build_network(config)
    try:
        network.load_state_dict(checkpoint.averaged)
    except RuntimeError as err:
        raise DataError('the weights of the checkpoint are not those of its configuration: '
                        f'{one_line(err)[:300]}') from err
    if config.quantize.weights_only:
        network = keep_rounded_weights(network)
    return TorchBackend(DeployModel(network.to(device), config.model),
                        build_contract(config, checkpoint.map_50), checkpoint.learnt())
