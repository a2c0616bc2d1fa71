"""
The training configuration: one YAML file, every key typed, unknown keys refused.

The schema is the documentation: `mbv2ssd_train train CONFIG --print-config` prints every key with
its value and what it means. Sizes are pixels, fractions are of 1, learning rates are for the
batch size that is written beside them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
    ValidationError,
)
import yaml

from mbv2ssd_ros.core.contract import BACKGROUND
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.priors import PriorLevel, ssdlite_levels
from mbv2ssd_train.compose import compose, merge, parse_override
from mbv2ssd_train.data.description import FILE_NAME, read_description

VOC_CLASSES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
    'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor')


class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _three_channels(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, (int, float)) else value


Channels = Annotated[tuple[float, float, float], BeforeValidator(_three_channels)]


class DataConfig(_Section):
    """What to learn from and what to measure on; the forms are described in data/sources.py."""

    root: str = Field(description='folder of the data; a VOCdevkit, a VOC tree or packed sets')
    train: tuple[str, ...] = Field(min_length=1, description='splits to learn from')
    val: str = Field(description='split that chooses the best epoch; shares no image with train')
    classes: tuple[str, ...] = Field(
        VOC_CLASSES, min_length=1,
        description="object classes; those of root's dataset.yaml where there is one")
    keep_decoded: bool = Field(
        True, description='keep decoded images in memory, in half of it at most')

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


class ModelConfig(_Section):
    """MobileNetV2 with SSDLite extras and heads."""

    input_size_hw: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = Field(
        (320, 320), description='network input, height and width in pixels')
    resize_mode: Literal['stretch', 'letterbox'] = Field(
        'stretch', description='letterbox keeps the aspect ratio and pads')
    width_mult: float = Field(1.0, gt=0, le=2, description='width multiplier of the backbone')
    first_stride: Literal[8, 16] = Field(8, description='of the finest map; 8 for small objects')
    scales: tuple[Positive, ...] = Field(
        (0.08, 0.18, 0.36, 0.54, 0.72, 0.90), min_length=3,
        description='prior box scale of each level, as a share of the image side')
    aspect_ratios: tuple[Positive, ...] = Field(
        (2.0, 3.0), description='of prior boxes, each lying and standing, beside two squares')
    extra_channels: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (512, 256, 256), description='of the maps behind the backbone, each half as large')
    variances: tuple[Positive, Positive] = Field((0.1, 0.2), description='of box centre and size')
    mean: Channels = Field((0.5, 0.5, 0.5), description='subtracted from RGB in [0, 1]')
    std: Annotated[tuple[Positive, Positive, Positive], BeforeValidator(_three_channels)] = Field(
        (0.5, 0.5, 0.5), description='RGB is divided by it')
    stride2_padding: Literal['torch', 'tensorflow'] = Field(
        'torch', description='how the backbone was trained: tensorflow pads right and below')
    backbone_weights: str | None = Field(
        None, description='what the backbone begins with: ImageNet weights with torchvision key '
        'names (.safetensors, .pth), or a model of ours (.onnx; then freeze_bn)')

    @model_validator(mode='after')
    def _levels_match(self) -> ModelConfig:
        from_backbone = 3 if self.first_stride == 8 else 2
        expected = from_backbone + len(self.extra_channels)
        if len(self.scales) != expected:
            raise ValueError(
                f'scales has {len(self.scales)} entries, but first_stride {self.first_stride} '
                f'gives {from_backbone} maps of the backbone and extra_channels '
                f'{len(self.extra_channels)} more: expected {expected}')
        return self

    def prior_levels(self) -> tuple[PriorLevel, ...]:
        """Return the layout of the prior boxes."""
        return ssdlite_levels(
            self.input_size_hw, self.scales, self.first_stride, self.aspect_ratios)


class AugmentConfig(_Section):
    """SSD's augmentation (arXiv:1512.02325, section 2.2); 0 switches a step off."""

    flip: float = Field(0.5, ge=0, le=1, description='share of images mirrored')
    expand: float = Field(0.5, ge=0, le=1, description='share of images zoomed out')
    expand_max: float = Field(4.0, ge=1, description='largest side of the canvas, in image sides')
    crop: float = Field(0.857, ge=0, le=1, description='share of images cropped; SSD: 6 of 7')
    crop_min_scale: float = Field(0.3, gt=0, le=1, description='smallest side of a crop')
    crop_ious: tuple[Share, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9, 0.0), min_length=1,
        description='least IoU with an object; one is drawn')
    brightness: float = Field(0.125, ge=0, le=1, description='largest change, as share of white')
    contrast: float = Field(0.5, ge=0, le=1, description='largest change, as share')
    saturation: float = Field(0.5, ge=0, le=1, description='largest change, as share')
    hue_degrees: float = Field(18.0, ge=0, le=180, description='largest turn of the colour circle')
    photometric: float = Field(0.5, ge=0, le=1, description='chance of each colour change')
    min_box_px: float = Field(2.0, ge=0, description='smaller boxes go, in network pixels')


class MatchConfig(_Section):
    """Which priors learn which object."""

    match_iou: float = Field(0.5, gt=0, le=1, description='from here a prior is positive')
    ignore_iou: float = Field(0.4, ge=0, le=1, description='from here it is not negative')
    neg_pos_ratio: float = Field(3.0, gt=0, description='negatives kept for each positive')
    box_weight: float = Field(1.0, gt=0, description='of the box loss beside the class loss')

    @model_validator(mode='after')
    def _ordered(self) -> MatchConfig:
        if self.ignore_iou > self.match_iou:
            raise ValueError(
                f'ignore_iou {self.ignore_iou} is above match_iou {self.match_iou}')
        return self


class OptimizerConfig(_Section):
    """Learning rates go up linearly, then down to zero along a cosine."""

    name: Literal['sgd', 'adamw'] = Field('sgd', description='sgd is with Nesterov momentum')
    learning_rate: float = Field(0.01, gt=0, description='of heads and extras')
    backbone_factor: float = Field(
        0.1, ge=0, le=1, description='of the backbone, as a share; 1.0 loses a short run')
    weight_decay: float = Field(5e-4, ge=0, description='not on biases and BatchNorm')
    momentum: float = Field(0.9, ge=0, lt=1, description='first beta of adamw')
    warmup_fraction: float = Field(
        0.04, ge=0, lt=1, description='share of the steps in which the rates go up')
    clip_norm: float = Field(
        0.0, ge=0, description='gradient norm limit, 0 = none; SGD learns nothing at 10')


class TrainingConfig(_Section):
    """The loop."""

    epochs: int = Field(60, ge=1, description='times that every image is seen')
    batch_size: int = Field(16, ge=2, description='images of a step')
    precision: Literal['fp32', 'bf16'] = Field(
        'fp32', description='bf16 is faster on a CPU with AVX512-bf16 or AMX')
    freeze_blocks: int = Field(0, ge=0, le=19, description='first features.* that do not learn')
    freeze_bn: bool = Field(
        False, description='BatchNorm of the backbone: its statistics stay as they are')
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description='of the averaged weights, which are evaluated; 0 = off')
    threads: int = Field(0, ge=0, description='of torch; 0 = all cores')
    eval_every: int = Field(5, ge=1, description='epochs between evaluations')
    save_every: int = Field(500, ge=1, description='steps between checkpoints within an epoch')


class EvaluationConfig(_Section):
    """How mAP is measured; not how the robot shows boxes."""

    score_threshold: float = Field(0.02, ge=0, le=1, description='low: the curve has an end')
    nms_iou: float = Field(0.45, ge=0, le=1, description='of one class; above it the worse goes')
    max_detections: int = Field(200, ge=1, description='of an image')
    max_candidates: int = Field(400, ge=1, description='of an image, before NMS')

    def detection_settings(self) -> DetectionSettings:
        """Return the settings of the run time's selector."""
        return DetectionSettings(**self.model_dump())


class TrainConfig(_Section):
    """A whole experiment."""

    name: str = Field(pattern=r'^[A-Za-z0-9][A-Za-z0-9._-]*$', description='of the run folder')
    seed: int = Field(1, ge=0, description='of weights, order and augmentation')
    data: DataConfig
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    match: MatchConfig = MatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def to_yaml(self) -> str:
        """Write every key with its value, defaults included."""
        return yaml.safe_dump(self.model_dump(mode='json'), sort_keys=False, width=99)

    def to_explained_yaml(self) -> str:
        """Write what to_yaml writes, with the meaning of every key as a comment."""
        lines: list[str] = []
        for key, value in self.model_dump(mode='json').items():
            section = getattr(self, key)
            if isinstance(section, _Section):
                lines.append(f'{key}:  # {" ".join((section.__doc__ or "").split())}')
                lines += [f'  {_explained(section, name, item)}' for name, item in value.items()]
            else:
                lines.append(_explained(self, key, value))
        return '\n'.join(lines) + '\n'

    def arch_fingerprint(self) -> str:
        """Name what decides whether weights can be loaded; the same on every machine."""
        keys = ('width_mult', 'first_stride', 'scales', 'aspect_ratios', 'extra_channels')
        model = self.model.model_dump(mode='json')
        return _fingerprint({**{key: model[key] for key in keys},
                             'classes': len(self.data.classes)})

    def recipe_fingerprint(self) -> str:
        """Name the experiment: everything but where files lie."""
        found = self.model_dump(mode='json')
        del found['data']['root'], found['data']['keep_decoded'], found['training']['threads']
        weights = found['model']['backbone_weights']
        found['model']['backbone_weights'] = weights and Path(weights).name
        return _fingerprint(found)


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> TrainConfig:
    """
    Read a configuration file.

    Args:
        path: YAML, composed as compose.py describes.
        overrides: 'key.path=value', the value as YAML.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: names file, key, what was found and the nearest known key.
    """
    found = compose(Path(path), overrides)
    _take_classes_of_the_data(found)
    return _validated(found, str(path))


def parse_config(text: str, source: str, overrides: tuple[str, ...] = ()) -> TrainConfig:
    """
    Read a complete configuration from YAML text, such as to_yaml writes.

    Args:
        text: YAML.
        source: name for messages.
        overrides: 'key.path=value'.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: names the key, what was found and the nearest known key.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ConfigError(f'{source}: not YAML: {" ".join(str(err).split())}') from err
    if not isinstance(found, dict):
        raise ConfigError(f'{source}: expected keys and values, found {type(found).__name__}')
    for override in overrides:
        found = merge(found, parse_override(override))
    return _validated(found, source)


def _take_classes_of_the_data(found: dict[str, Any]) -> None:
    """Fill in data.classes from a dataset.yaml, so that they are written down once."""
    data = found.get('data')
    if isinstance(data, dict) and 'classes' not in data and isinstance(data.get('root'), str):
        folder = Path(data['root'])
        if (folder / FILE_NAME).is_file():
            data['classes'] = list(read_description(folder).classes)


def _validated(found: dict[str, Any], source: str) -> TrainConfig:
    try:
        return TrainConfig.model_validate(found)
    except ValidationError as err:
        lines = [_describe(error) for error in err.errors()]
        raise ConfigError(f'{source}: ' + '; '.join(lines)) from err


def _describe(error: Any) -> str:
    path = '.'.join(str(part) for part in error['loc']) or 'configuration'
    if error['type'] != 'extra_forbidden':
        known = error['type'] == 'missing' or isinstance(error['input'], dict)
        found = '' if known else f' (found {error["input"]!r})'
        return f'{path}: {error["msg"]}{found}'
    known = _known_keys(error['loc'][:-1])
    nearest = difflib.get_close_matches(str(error['loc'][-1]), known, n=1)
    hint = f'did you mean {nearest[0]!r}?' if nearest else f'known keys are {", ".join(known)}'
    return f'{path}: unknown key; {hint}'


def _explained(section: _Section, key: str, value: Any) -> str:
    # as the only item of a list: a value alone would be a document with an end mark
    text = yaml.safe_dump([value], default_flow_style=True, width=float('inf')).strip()[1:-1]
    return f'{key}: {text}  # {type(section).model_fields[key].description}'


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    section: Any = TrainConfig
    for part in path:
        section = section.model_fields[part].annotation
    return sorted(section.model_fields)


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
