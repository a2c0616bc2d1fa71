"""Learning with the rounding of 8-bit integers."""

from __future__ import annotations

from pydantic import Field

from mbv2ssd_train.config.section import Section


class QuantizeConfig(Section):
    """Learning with the rounding of 8-bit integers, where quantising afterwards costs too much."""

    path_keys = frozenset({'ranges_from'})

    ranges_from: str | None = Field(
        None, description='INT8 file that `quantize --target tensorrt` made of model.weights: the '
        'network learns with its rounding, and is exported as such a file; null = off')
