"""The configuration of distillation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section


class DistillConfig(Section):
    """Distillation from a trained network, the teacher."""

    path_keys = frozenset({'teacher'})
    only_with = {'weight': ('only', (False,))}

    teacher: str | None = Field(
        None, description='checkpoint (.pt) or float32 model (.onnx) with the same classes, '
        'input size and prior boxes; null = off')
    only: bool = Field(
        False, description='learn from the teacher only and ignore the annotations')
    weight: float = Field(
        1.0, gt=0, description='weight of the distillation loss relative to the detection loss')
    temperature: float = Field(
        1.0, ge=1, le=100, description='softens the class scores of both; above 1 unlikely '
        'classes weigh more')
    priors: Literal['all', 'confident'] = Field(
        'all', description='priors whose class scores are compared: all, or those where '
        'teacher or network detects an object')
    confident: float = Field(
        0.3, gt=0, lt=1, description='score from which a prior detects an object; boxes are '
        'compared where the teacher detects one')
    box_weight: float = Field(1.0, ge=0, description='weight of boxes relative to scores')

    @model_validator(mode='after')
    def _has_a_teacher(self) -> DistillConfig:
        changed = sorted(self.model_fields_set & {
            name for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default})
        if self.teacher is None and changed:
            raise ValueError(f'{", ".join(changed)} without a teacher: set teacher to a trained '
                             'model, or leave the section out')
        return self
