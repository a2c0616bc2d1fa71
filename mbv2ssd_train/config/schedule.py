"""How learning rates go up and down."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mbv2ssd_train.config.section import Section, Share


class ScheduleConfig(Section):
    """Learning rates go up linearly, then down."""

    only_with = {
        'final_factor': ('name', ('cosine',)),
        'milestones': ('name', ('multistep',)),
        'step_fraction': ('name', ('step',)),
        'drop': ('name', ('step', 'multistep'))}

    name: Literal['cosine', 'step', 'multistep', 'constant'] = Field(
        'cosine', description='how the rates go down')
    warmup_fraction: float = Field(
        0.04, ge=0, lt=1, description='share of the steps in which the rates go up')
    final_factor: Share = Field(0.0, description='of the full rate, at the end of the cosine')
    milestones: tuple[Share, ...] = Field(
        (0.67, 0.89), description='shares of the steps behind which multistep drops the rate')
    step_fraction: float = Field(
        0.25, gt=0, le=1, description='share of the steps after which step drops it, again and '
        'again')
    drop: float = Field(0.1, gt=0, lt=1, description='what a drop leaves of the rate')

    @model_validator(mode='after')
    def _ascending(self) -> ScheduleConfig:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f'milestones must ascend, found {list(self.milestones)}')
        return self
