"""The configuration of quantization-aware training."""

from __future__ import annotations

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section


class QuantizeConfig(Section):
    """Quantization-aware training, where quantizing after training costs too much mAP."""

    path_keys = frozenset({'ranges_from'})

    ranges_from: str | None = Field(
        None, description='INT8 file written from model.weights by `quantize --target '
        'tensorrt`; the network trains with its ranges and is exported as INT8; null = off')
    weights_only: bool = Field(
        False, description='quantize weights but not activations; `quantize --target cpu` then '
        'keeps the weights of the exported float32 file exactly')

    @model_validator(mode='after')
    def _one_kind(self) -> QuantizeConfig:
        if self.ranges_from is not None and self.weights_only:
            raise ValueError('ranges_from and weights_only are both set; ranges_from '
                             'quantizes the weights too, leave weights_only out')
        return self
