"""Training and validation data of a run."""

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
    """Training and validation data; data/sources/open.py lists the formats."""

    local_keys = frozenset({'root', 'keep', 'workers', 'test'})
    only_with = {'repeat_below': ('sampling', ('class_balanced',))}

    root: str = Field(description='folder of the data; data/sources/open.py lists the formats')
    train: tuple[str, ...] = Field(min_length=1, description='training splits')
    val: str = Field(
        description='validation split, which chooses the best epoch; shares no image with train')
    test: str | None = Field(
        None, description='split that is measured once, when training has ended; the report is '
        'in the run folder')
    classes: tuple[str, ...] = Field(
        VOC_CLASSES, min_length=1,
        description='object classes, by default those of dataset.yaml in root')
    keep: Literal['none', 'memory', 'device'] = Field(
        'memory', description='where to keep decoded images: none, memory (half of it at most), '
        'or device (on the GPU, which augments them too)')
    workers: int = Field(2, ge=1, le=64, description='threads that decode and augment')
    sampling: Literal['uniform', 'class_balanced'] = Field(
        'uniform', description='class_balanced repeats images of rare classes; an epoch keeps its '
        'number of images')
    repeat_below: float = Field(
        0.1, gt=0, le=1, description='class_balanced repeats a class that is in a smaller share '
        'of the images by sqrt(repeat_below / share)')

    @field_validator('classes')
    @classmethod
    def _are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if BACKGROUND in names:
            raise ValueError(f'{BACKGROUND!r} is added automatically; leave it out')
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f'{", ".join(twice)} is listed more than once')
        if any(name != name.strip() or not name for name in names):
            raise ValueError('a class name is empty or has spaces around it')
        return names
