"""Learning from the answers of another network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section


class DistillConfig(Section):
    """A trained network, the teacher, that the answers of this one are compared with."""

    path_keys = frozenset({'teacher'})
    only_with = {'weight': ('only', (False,))}

    teacher: str | None = Field(
        None, description='checkpoint (.pt) or float32 model (.onnx) with the classes, input size '
        'and prior boxes of this one; null = off')
    only: bool = Field(
        False, description='learn from the teacher alone; the objects do not count')
    weight: float = Field(
        1.0, gt=0, description='of what the teacher says beside the loss of the objects')
    temperature: float = Field(
        1.0, ge=1, le=100, description='of the class scores of both; above 1 what is unlikely '
        'counts more')
    priors: Literal['all', 'confident'] = Field(
        'all', description='whose class scores are compared: all, or those in which teacher or '
        'network sees an object')
    confident: float = Field(
        0.3, gt=0, lt=1, description='score from which an object is seen; the boxes that the '
        'teacher sees are compared')
    box_weight: float = Field(1.0, ge=0, description='of the boxes beside the class scores')

    @model_validator(mode='after')
    def _has_a_teacher(self) -> DistillConfig:
        changed = sorted(self.model_fields_set & {
            name for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default})
        if self.teacher is None and changed:
            raise ValueError(f'{", ".join(changed)} without a teacher: set teacher to a trained '
                             'model, or leave the section out')
        return self
