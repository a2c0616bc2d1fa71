"""The configuration of the optimizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mbv2ssd_train.config.section import Section


class OptimizerConfig(Section):
    """The optimizer."""

    name: Literal['sgd', 'adamw'] = Field('sgd', description='sgd has Nesterov momentum')
    learning_rate: float = Field(0.01, gt=0, description='peak rate of heads and extras')
    backbone_factor: float = Field(
        0.1, ge=0, le=1, description='rate of the backbone, as a share; 1.0 ruins a short run')
    weight_decay: float = Field(5e-4, ge=0, description='biases and BatchNorm have none')
    momentum: float = Field(0.9, ge=0, lt=1, description='of sgd; the first beta of adamw')
    clip_norm: float = Field(
        0.0, ge=0, description='limit of the gradient norm, 0 = none; SGD learns nothing at 10')
