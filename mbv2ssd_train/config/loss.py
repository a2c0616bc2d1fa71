"""What mistakes cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section, Share


class LossConfig(Section):
    """What mistakes cost."""

    only_with = {
        'neg_pos_ratio': ('classification', ('cross_entropy',)),
        'min_negatives': ('classification', ('cross_entropy',)),
        'max_negatives': ('classification', ('cross_entropy',)),
        'label_smoothing': ('classification', ('cross_entropy',)),
        'focal_alpha': ('classification', ('focal',)),
        'focal_gamma': ('classification', ('focal', 'quality_focal')),
        'quality_warmup': ('classification', ('quality_focal',)),
        'smooth_l1_beta': ('box', ('smooth_l1',))}

    classification: Literal['cross_entropy', 'focal', 'quality_focal'] = Field(
        'cross_entropy', description='cross_entropy: softmax with hard negatives; focal: sigmoid '
        'over all priors; quality_focal: its scores say how good the box is')
    neg_pos_ratio: float = Field(3.0, gt=0, description='negatives kept for each positive')
    min_negatives: int = Field(
        3, ge=0, description='of an image, such as one without objects')
    max_negatives: int = Field(0, ge=0, description='of an image; 0 = no limit')
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description='share of certainty that is spread over all classes')
    focal_alpha: Share = Field(0.25, description='weight of objects; the rest is of background')
    focal_gamma: float = Field(
        2.0, ge=0, description='how little counts what is nearly right; 0 = not less, else from 1')
    quality_warmup: Share = Field(
        0.0, description='share of the steps, the first ones, in which what scores learn goes '
        'from 1 to how good the box is; 0 = that from the beginning')
    box: Literal['smooth_l1', 'l1', 'giou', 'diou', 'ciou'] = Field(
        'smooth_l1', description='of offsets (smooth_l1, l1) or of overlap')
    smooth_l1_beta: float = Field(
        1.0, gt=0, description='offset from which the loss is a straight line')
    box_weight: float = Field(1.0, gt=0, description='of the box loss beside the class loss')

    @model_validator(mode='after')
    def _sensible(self) -> LossConfig:
        if 0 < self.focal_gamma < 1:
            raise ValueError(f'focal_gamma {self.focal_gamma} has an infinite slope where a score '
                             'is right; choose 0 or at least 1')
        if 0 < self.max_negatives < self.min_negatives:
            raise ValueError(f'max_negatives {self.max_negatives} is below min_negatives '
                             f'{self.min_negatives}')
        return self
