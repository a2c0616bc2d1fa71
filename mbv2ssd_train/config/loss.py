"""The configuration of the loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section, Share


class LossConfig(Section):
    """The loss."""

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
        'over all priors; quality_focal: scores learn the IoU of the box')
    neg_pos_ratio: float = Field(3.0, gt=0, description='negatives kept for each positive')
    min_negatives: int = Field(
        3, ge=0, description='minimum for each image, such as one without objects')
    max_negatives: int = Field(0, ge=0, description='limit for each image; 0 = none')
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description='share of the target that is spread over all classes')
    focal_alpha: Share = Field(0.25, description='weight of objects; background has the rest')
    focal_gamma: float = Field(
        2.0, ge=0, description='down-weights easy examples; 0 = off, else at least 1')
    quality_warmup: Share = Field(
        0.0, description='share of steps at the start in which the target score moves from 1 '
        'to the IoU of the box; 0 = off')
    box: Literal['smooth_l1', 'l1', 'giou', 'diou', 'ciou'] = Field(
        'smooth_l1', description='box loss, of offsets (smooth_l1, l1) or of overlap')
    smooth_l1_beta: float = Field(
        1.0, gt=0, description='offset from which the loss is linear')
    box_weight: float = Field(1.0, gt=0, description='weight of the box loss')

    @model_validator(mode='after')
    def _sensible(self) -> LossConfig:
        if 0 < self.focal_gamma < 1:
            raise ValueError(f'focal_gamma {self.focal_gamma} has an infinite gradient at a '
                             'correct score; choose 0 or at least 1')
        if 0 < self.max_negatives < self.min_negatives:
            raise ValueError(f'max_negatives {self.max_negatives} is below min_negatives '
                             f'{self.min_negatives}')
        return self
