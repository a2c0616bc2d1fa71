"""The configuration of the learning rate schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section, Share


class ScheduleConfig(Section):
    """Learning rate schedule: linear warm-up, then decay."""

    only_with = {
        'final_factor': ('name', ('cosine',)),
        'milestones': ('name', ('multistep',)),
        'step_fraction': ('name', ('step',)),
        'drop': ('name', ('step', 'multistep'))}

    name: Literal['cosine', 'step', 'multistep', 'constant'] = Field(
        'cosine', description='shape of the decay')
    warmup_fraction: float = Field(
        0.04, ge=0, lt=1, description='share of steps for the warm-up')
    final_factor: Share = Field(0.0, description='share of the peak rate at the end of the cosine')
    milestones: tuple[Share, ...] = Field(
        (0.67, 0.89), description='shares of the steps after which multistep drops the rate')
    step_fraction: float = Field(
        0.25, gt=0, le=1, description='share of the steps between two drops of step')
    drop: float = Field(0.1, gt=0, lt=1, description='factor of a drop')

    @model_validator(mode='after')
    def _ascending(self) -> ScheduleConfig:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f'milestones must ascend, found {list(self.milestones)}')
        return self
