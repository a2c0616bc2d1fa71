"""The network: backbone, feature maps, heads, prior boxes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mbv2ssd_ros.core.priors import (
    clip_shapes,
    grid_shapes,
    halving_levels,
    lowest_shapes,
    PriorLevel,
    ssd300_levels,
    ssd_shapes,
)
from mbv2ssd_train.config.section import Positive, Section, Side

_MOBILENETS = ('mobilenet_v2', 'mobilenet_v3_large')
_PRESET_HINT = 'config/train/base/model/ has complete model sections to begin with'


def _three_channels(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, (int, float)) else value


def _ratio_or_list(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_ratio(item) for item in value)
    return _ratio(value)


def _ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError('expected a number, or a list of numbers for one level')
    if not 0 < value < math.inf:
        raise ValueError('an aspect ratio should be greater than 0')
    return float(value)


Channels = Annotated[tuple[float, float, float], BeforeValidator(_three_channels)]
# a number or a tuple of numbers; a union would report a fault twice
Ratios = Annotated[Any, BeforeValidator(_ratio_or_list)]


class ModelConfig(Section):
    """Backbone, extra maps, neck and heads; MobileNetV2 with SSDLite by default."""

    path_keys = frozenset({'weights', 'backbone_weights'})
    only_with = {
        'width_mult': ('backbone', _MOBILENETS),
        'min_depth': ('backbone', _MOBILENETS),
        'reduced_tail': ('backbone', ('mobilenet_v3_large',)),
        'stride2_padding': ('backbone', ('mobilenet_v2',)),
        'taps': ('backbone', _MOBILENETS),
        'extras': ('backbone', _MOBILENETS),
        'first_stride': ('backbone', _MOBILENETS),
        'neck_channels': ('neck', ('fpn_lite',))}

    input_size_hw: tuple[Side, Side] = Field(
        (320, 320), description='network input, height and width in pixels')
    resize_mode: Literal['stretch', 'letterbox'] = Field(
        'stretch', description='letterbox keeps the aspect ratio and pads')
    backbone: Literal['mobilenet_v2', 'mobilenet_v3_large', 'vgg16'] = Field(
        'mobilenet_v2', description='mobilenet_v2, mobilenet_v3_large or vgg16')
    width_mult: float = Field(1.0, gt=0, le=2, description='width multiplier of the backbone')
    min_depth: int = Field(
        8, ge=8, multiple_of=8, description='fewest channels of a layer, for a small width_mult')
    reduced_tail: bool = Field(
        False, description='halve the channels after stride 16, as in SSDLite320; ImageNet '
        'weights need the whole tail')
    head: Literal['ssdlite', 'ssd'] = Field(
        'ssdlite', description='ssdlite: 3x3 depthwise, then 1x1; ssd: one 3x3 convolution')
    taps: Literal['expansion', 'block'] = Field(
        'expansion', description='backbone maps that feed heads: the wide expansion layer before '
        'each stride, as in SSDLite, or the narrow block before it, which costs less')
    first_stride: Literal[8, 16] = Field(8, description='stride of the finest map; 8 for small '
                                         'objects')
    neck: Literal['none', 'fpn_lite'] = Field(
        'none', description='fpn_lite: merge backbone maps from the coarsest to the finest by '
        'separable convolutions')
    neck_channels: int = Field(
        96, ge=8, multiple_of=8, description='channels of each output map of the neck')
    extras: Literal['ssdlite', 'conv'] = Field(
        'ssdlite', description='layers of the extra maps: 1x1, 3x3 depthwise and 1x1 '
        'convolutions, or one 3x3 convolution')
    extra_channels: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (512, 256, 256), description='channels of the extra maps, each half as large as the one '
        'before')
    scales: tuple[Positive, ...] = Field(
        (0.08, 0.18, 0.36, 0.54, 0.72, 0.90), min_length=3,
        description='prior box scale of each level, as a share of the image side; an extra '
        'value (default 1.0) is the scale after the last level')
    aspect_ratios: tuple[Ratios, ...] = Field(
        (2.0, 3.0), description='of prior boxes, each used wide and tall, in addition to squares; '
        'one list for all levels or one for each')
    prior_shapes: Literal['ssd', 'grid', 'tensorflow'] = Field(
        'ssd', description='ssd: ratios at the scale and a square at its mean with the next '
        'scale; grid: every ratio at both; tensorflow: as ssd, with one square of half the scale '
        'on the finest map')
    clip_priors: bool = Field(
        False, description='limit prior boxes to the size of the image, as torchvision does')
    variances: tuple[Positive, Positive] = Field((0.1, 0.2), description='variances of box centre '
                                                 'and size')
    mean: Channels = Field((0.5, 0.5, 0.5), description='subtracted from RGB in [0, 1]')
    std: Annotated[tuple[Positive, Positive, Positive], BeforeValidator(_three_channels)] = Field(
        (0.5, 0.5, 0.5), description='divisor of RGB after the subtraction')
    stride2_padding: Literal['torch', 'tensorflow', 'tensorflow_extras'] = Field(
        'torch', description='padding that the weights were trained with: tensorflow pads right '
        'and below; tensorflow_extras: in the extra maps too')
    backbone_weights: str | None = Field(
        None, description='initial weights of the backbone: ImageNet weights with torchvision key '
        'names (.safetensors, .pth), or an exported model (.onnx, with freeze_bn)')
    weights: str | None = Field(
        None, description='initial weights of the network: a checkpoint (.pt) or an exported '
        'model (.onnx, with freeze_bn); tensors that do not fit are random')

    @model_validator(mode='after')
    def _levels_match(self) -> ModelConfig:
        levels = self.backbone_maps + len(self.extra_channels)
        if self.backbone == 'vgg16' and len(self.extra_channels) != 4:
            raise ValueError(
                f'extra_channels has {len(self.extra_channels)} entries, but vgg16 is followed by '
                f'4 maps; {_PRESET_HINT}')
        if len(self.scales) - levels not in (0, 1):
            raise ValueError(
                f'scales has {len(self.scales)} entries, but first_stride {self.first_stride} '
                f'gives {self.backbone_maps} maps of the backbone and extra_channels '
                f'{len(self.extra_channels)} more: expected {levels}, or one more')
        nested = [isinstance(item, tuple) for item in self.aspect_ratios]
        if any(nested) and not (all(nested) and len(nested) == levels):
            raise ValueError(
                f'aspect_ratios is neither one list of numbers nor a list of {levels} lists, one '
                f'for each level: found {len(nested)} entries')
        return self

    @model_validator(mode='after')
    def _one_source_of_weights(self) -> ModelConfig:
        if self.weights and self.backbone_weights:
            raise ValueError('weights and backbone_weights are both set; weights has a backbone '
                             'already, leave the other one out')
        return self

    @property
    def backbone_maps(self) -> int:
        """Number of feature maps of the backbone; the others come from the extras."""
        return 3 if self.first_stride == 8 and self.backbone != 'vgg16' else 2

    @property
    def has_batch_norm(self) -> bool:
        """Whether extra maps or heads have BatchNorm; those of SSD300 do not."""
        return self.backbone != 'vgg16' or self.head == 'ssdlite'

    def prior_levels(self, input_size_hw: tuple[int, int] | None = None
                     ) -> tuple[PriorLevel, ...]:
        """
        Return the layout of the prior boxes, by default at the configured input size.

        Raises ConfigError where the input is too small for the last maps.
        """
        size_hw, shapes = input_size_hw or self.input_size_hw, self._shapes()
        if self.backbone == 'vgg16':
            return ssd300_levels(size_hw, shapes)
        return halving_levels(size_hw, self.first_stride, shapes)

    def _shapes(self) -> list[tuple[tuple[float, float], ...]]:
        levels = self.backbone_maps + len(self.extra_channels)
        scales = (*self.scales, 1.0)
        make = grid_shapes if self.prior_shapes == 'grid' else ssd_shapes
        shapes = [make(scales[k], scales[k + 1], self._ratios(k)) for k in range(levels)]
        if self.prior_shapes == 'tensorflow':
            shapes[0] = lowest_shapes(scales[0], self._ratios(0))
        return [clip_shapes(level) for level in shapes] if self.clip_priors else shapes

    def _ratios(self, level: int) -> tuple[float, ...]:
        own = self.aspect_ratios[level] if level < len(self.aspect_ratios) else None
        if isinstance(own, tuple):
            return own
        return tuple(ratio for ratio in self.aspect_ratios if not isinstance(ratio, tuple))

    def shape_of_weights(self) -> dict[str, Any]:
        """Return the keys that decide the shapes of weights, the number of classes aside."""
        keys = {'backbone', 'width_mult', 'min_depth', 'reduced_tail', 'head', 'taps',
                'first_stride', 'extras', 'extra_channels', 'scales', 'aspect_ratios',
                'prior_shapes', 'clip_priors'}
        if self.neck != 'none':  # else left out: fingerprints of older models stay
            keys |= {'neck', 'neck_channels'}
        return self.model_dump(mode='json', include=keys)
