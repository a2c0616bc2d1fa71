"""The network: backbone, feature maps, prior boxes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mbv2ssd_ros.core.priors import PriorLevel, ssdlite_levels
from mbv2ssd_train.config.section import Positive, Section


def _three_channels(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, (int, float)) else value


Channels = Annotated[tuple[float, float, float], BeforeValidator(_three_channels)]


class ModelConfig(Section):
    """MobileNetV2 with SSDLite extras and heads."""

    path_keys = frozenset({'backbone_weights'})

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

    def prior_levels(self, input_size_hw: tuple[int, int] | None = None
                     ) -> tuple[PriorLevel, ...]:
        """
        Return the layout of the prior boxes.

        Args:
            input_size_hw: of the network input, pixels; by default the configured size.
        """
        return ssdlite_levels(input_size_hw or self.input_size_hw, self.scales,
                              self.first_stride, self.aspect_ratios)

    def shape_of_weights(self) -> dict[str, Any]:
        """Return what decides the shapes of the weights, up to the number of classes."""
        keys = {'width_mult', 'first_stride', 'scales', 'aspect_ratios', 'extra_channels'}
        return self.model_dump(mode='json', include=keys)
