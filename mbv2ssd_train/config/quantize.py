"""Learning with the rounding of 8-bit integers."""

from __future__ import annotations

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section


class QuantizeConfig(Section):
    """Learning with the rounding of 8-bit integers, where quantising afterwards costs too much."""

    path_keys = frozenset({'ranges_from'})

    ranges_from: str | None = Field(
        None, description='INT8 file that `quantize --target tensorrt` made of model.weights: the '
        'network learns with its rounding, and is exported as such a file; null = off')
    weights_only: bool = Field(
        False, description='round weights and leave maps as they are; the exported float32 file '
        'has the rounded weights, which `quantize --target cpu` takes over without a loss')

    @model_validator(mode='after')
    def _one_kind(self) -> QuantizeConfig:
        if self.ranges_from is not None and self.weights_only:
            raise ValueError('ranges_from and weights_only are both set; ranges_from rounds the '
                             'weights too, leave weights_only out')
        return self
