"""The configuration of the assignment of objects to priors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section


class MatchConfig(Section):
    """Assignment of objects to priors."""

    only_with = {
        'match_iou': ('method', ('iou',)),
        'center_in_object': ('method', ('iou',)),
        'max_positives_per_object': ('method', ('iou',)),
        'atss_cells': ('method', ('atss',)),
        'aligned_priors': ('method', ('task_aligned',)),
        'score_power': ('method', ('task_aligned',)),
        'iou_power': ('method', ('task_aligned',))}

    method: Literal['iou', 'atss', 'task_aligned'] = Field(
        'iou', description='iou: as in SSD; atss: a threshold for each object; task_aligned: by '
        'the predictions')
    match_iou: float = Field(0.5, gt=0, le=1, description='IoU from which a prior is positive')
    ignore_iou: float = Field(
        0.4, ge=0, le=1, description='IoU from which a prior is ignored, below match_iou and on '
        'difficult objects')
    center_in_object: bool = Field(
        False, description='require the centre of a positive prior inside its object')
    max_positives_per_object: int = Field(
        0, ge=0, description='keep those with the largest IoU; 0 = no limit')
    atss_cells: int = Field(
        9, ge=1, description='nearest cells of each level whose priors are candidates')
    aligned_priors: int = Field(13, ge=1, description='best aligned priors of an object')
    score_power: float = Field(1.0, ge=0, description='alpha of alignment, score**alpha*IoU**beta')
    iou_power: float = Field(6.0, gt=0, description='beta of alignment')

    @model_validator(mode='after')
    def _ordered(self) -> MatchConfig:
        if self.method == 'iou' and self.ignore_iou > self.match_iou:
            raise ValueError(
                f'ignore_iou {self.ignore_iou} is above match_iou {self.match_iou}')
        return self
