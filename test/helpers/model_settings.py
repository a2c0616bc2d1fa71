"""Configurations small enough for tests."""

import yaml

from helpers.synthetic import SHAPES
from mbv2ssd_train.config import ModelConfig, parse_config, TrainConfig

SMALL = {'input_size_hw': [64, 96], 'width_mult': 0.35, 'extra_channels': [32, 32],
         'scales': [0.15, 0.3, 0.45, 0.6, 0.8], 'aspect_ratios': [2.0]}


def small_model(**changes) -> ModelConfig:
    """A narrow network for 64 x 96 pixels; maps of 8x12, 4x6, 2x3, 1x2 and 1x1 cells."""
    return ModelConfig.model_validate({**SMALL, **changes})


def small_run(root, **sections) -> TrainConfig:
    """A run on the shapes of synthetic.py; sections replace keys, as model={'width_mult': 1}."""
    found = {
        'name': 'small', 'seed': 1,
        'data': {'root': str(root), 'train': ['train'], 'val': 'val', 'classes': list(SHAPES)},
        'model': SMALL,
        'optimizer': {'name': 'adamw', 'learning_rate': 0.003, 'backbone_factor': 1.0},
        'training': {'epochs': 2, 'batch_size': 4, 'eval_every': 2, 'threads': 1,
                     'precision': 'fp32'}}
    for name, changes in sections.items():
        found[name] = {**found[name], **changes} if isinstance(changes, dict) and name in found \
            else changes
    return parse_config(yaml.safe_dump(found), 'the test')
