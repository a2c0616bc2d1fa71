"""Which prior learns which object, and what its mistakes cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section


class MatchConfig(Section):
    """Which priors learn which object."""

    match_iou: float = Field(0.5, gt=0, le=1, description='from here a prior is positive')
    ignore_iou: float = Field(0.4, ge=0, le=1, description='from here it is not negative')

    @model_validator(mode='after')
    def _ordered(self) -> MatchConfig:
        if self.ignore_iou > self.match_iou:
            raise ValueError(
                f'ignore_iou {self.ignore_iou} is above match_iou {self.match_iou}')
        return self


class LossConfig(Section):
    """What mistakes cost."""

    only_with = {'neg_pos_ratio': ('classification', ('cross_entropy',))}

    classification: Literal['cross_entropy'] = Field(
        'cross_entropy', description='softmax over background and classes, with hard negatives')
    neg_pos_ratio: float = Field(3.0, gt=0, description='negatives kept for each positive')
    box_weight: float = Field(1.0, gt=0, description='of the box loss beside the class loss')
