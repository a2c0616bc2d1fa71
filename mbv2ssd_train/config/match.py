"""Which prior learns which object, and what its mistakes cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section, Share


class MatchConfig(Section):
    """Which priors learn which object."""

    only_with = {
        'match_iou': ('method', ('iou',)),
        'center_in_object': ('method', ('iou',)),
        'max_positives_per_object': ('method', ('iou',)),
        'atss_cells': ('method', ('atss',)),
        'aligned_priors': ('method', ('task_aligned',)),
        'score_power': ('method', ('task_aligned',)),
        'iou_power': ('method', ('task_aligned',))}

    method: Literal['iou', 'atss', 'task_aligned'] = Field(
        'iou', description='iou as SSD; atss: a threshold for each object; task_aligned: by what '
        'priors predict')
    match_iou: float = Field(0.5, gt=0, le=1, description='from here a prior is positive')
    ignore_iou: float = Field(
        0.4, ge=0, le=1, description='from here it is not negative: below match_iou, and near '
        'difficult objects')
    center_in_object: bool = Field(
        False, description='positive only where the centre of the prior is in the object')
    max_positives_per_object: int = Field(
        0, ge=0, description='those with the largest IoU; 0 = no limit')
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
