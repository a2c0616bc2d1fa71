"""A configuration that fits a data set: to begin with, not to end with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import re

import numpy as np
import yaml

from mbv2ssd_train.data.sources.annotations import SourceImage

_STEPS, _BATCH = 650, 16  # of fine-tuning on some hundred images
_EPOCHS = (15, 150)
_SMALL_PX, _SMALL_SHARE = 8, 0.1  # more objects below that side at 224 pixels: take 320
_SIDES = re.compile(r'left|right', re.IGNORECASE)
_WORDS = re.compile(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])')

_TEXT = '''# Written by `mbv2ssd_train new`; every key: mbv2ssd_train train {file} --print-config
name: {name}
seed: 1
data:
  root: {root}
  train: {train}
  val: {val}  # chooses the best epoch
  test: {test}  # measured once, when training has ended
  classes: {classes}
model:
  input_size_hw: [{side}, {side}]  # {side_why}
  stride2_padding: tensorflow_extras  # padding of the model below
  weights: {weights}  # start from the shipped model
augment:  # for some hundred images; use stronger augmentation against overfitting
  flip: {flip}  # {flip_why}
  expand: 0.25
  expand_max: 1.8
  crop: 0.5
  crop_min_scale: 0.6
  crop_ious: [0.0]
optimizer:
  name: adamw
  learning_rate: 0.001
  backbone_factor: 0.1
  weight_decay: 0.01
  clip_norm: 10
training:
  epochs: {epochs}  # {steps} steps
  batch_size: {batch}
  precision: auto  # bfloat16 where this machine has instructions for it
  freeze_blocks: 3
  freeze_bn: true  # an .onnx file has no BatchNorm statistics
  ema_decay: 0.99  # for some hundred steps
  eval_every: {every}
'''


@dataclass(frozen=True)
class Splits:
    """The names of the splits to train, choose and measure with; test '' where there is none."""

    train: tuple[str, ...]
    val: str
    test: str


def propose(root: str, file: str, name: str, classes: Sequence[str], splits: Splits,
            learnt: Sequence[SourceImage]) -> str:
    """Return the YAML of a configuration; `learnt` are the training images."""
    small = _small_share(learnt)
    side = 320 if small > _SMALL_SHARE else 224
    batch = max(2, min(_BATCH, len(learnt)))
    steps = max(1, len(learnt) // batch)
    epochs = min(max(round(_STEPS / steps), _EPOCHS[0]), _EPOCHS[1])
    sided = [name for name in classes if names_a_side(name)]
    return _TEXT.format(
        file=file, name=name, root=_yaml(root), train=_yaml(list(splits.train)),
        val=_yaml(splits.val), test=_yaml(splits.test or None), classes=_yaml(list(classes)),
        side=side, side_why=f'{small:.0%} of the objects would be under {_SMALL_PX} pixels at 224',
        weights='mbv2_ssdlite_320_voc.onnx' if side == 320 else 'mbv2_ssdlite_voc.onnx',
        flip=0 if sided else 0.5,
        flip_why=(f'off: {" ".join(sided)!r} would become its mirror image' if sided
                  else '0 where left and right are different classes'),
        epochs=epochs, steps=epochs * steps, batch=batch, every=max(1, epochs // 10))


def names_a_side(name: str) -> bool:
    """Whether left or right is a word of a class name: turn_left, RightArrow; not bright."""
    return any(_SIDES.fullmatch(word) for word in _WORDS.findall(name))


def _small_share(images: Sequence[SourceImage]) -> float:
    sides = [min((x2 - x1) / image.image.size_hw[1], (y2 - y1) / image.image.size_hw[0]) * 224
             for image in images for x1, y1, x2, y2 in (item.xyxy for item in image.image.objects)]
    return float(np.mean(np.array(sides) < _SMALL_PX)) if sides else 0.0


def _yaml(value: object) -> str:
    text = yaml.safe_dump([value], default_flow_style=True, width=float('inf'), allow_unicode=True)
    return text.strip()[1:-1]
