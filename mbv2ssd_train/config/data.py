"""Which images a run learns from, and which it is measured on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mbv2ssd_ros.core.contract import BACKGROUND
from mbv2ssd_train.config.section import Section

VOC_CLASSES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
    'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor')


class DataConfig(Section):
    """What to learn from and what to measure on; data/sources/open.py has the forms."""

    local_keys = frozenset({'root', 'keep', 'workers'})
    only_with = {'repeat_below': ('sampling', ('class_balanced',))}

    root: str = Field(description='folder of the data; its forms are in data/sources/open.py')
    train: tuple[str, ...] = Field(min_length=1, description='splits to learn from')
    val: str = Field(description='split that chooses the best epoch; shares no image with train')
    classes: tuple[str, ...] = Field(
        VOC_CLASSES, min_length=1,
        description="object classes; those of root's dataset.yaml where there is one")
    keep: Literal['none', 'memory', 'device'] = Field(
        'memory', description='decoded images: memory keeps them in half of it at most, device '
        'on the GPU that learns, where they are augmented too')
    workers: int = Field(2, ge=1, le=64, description='threads that decode and augment')
    sampling: Literal['uniform', 'class_balanced'] = Field(
        'uniform', description='class_balanced shows images of rare classes more often; an epoch '
        'has as many images as before')
    repeat_below: float = Field(
        0.1, gt=0, le=1, description='share of the images; class_balanced repeats a class that '
        'fewer show, by sqrt(repeat_below / its share)')

    @field_validator('classes')
    @classmethod
    def _can_be_told_apart(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if BACKGROUND in names:
            raise ValueError(f'{BACKGROUND!r} is added by itself; leave it out')
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f'{", ".join(twice)} stands there more than once')
        if any(name != name.strip() or not name for name in names):
            raise ValueError('a class name is empty or has spaces around it')
        return names
