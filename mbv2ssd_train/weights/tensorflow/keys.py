"""TensorFlow's SSDLite MobileNetV2: its configuration here, and the names of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SSDLITE_MOBILENET_V2 = 'ssdlite_mobilenet_v2_coco'

_EXTRA_CHANNELS = (512, 256, 256, 128)
MODEL: dict[str, Any] = {
    'input_size_hw': [300, 300], 'backbone': 'mobilenet_v2', 'head': 'ssdlite',
    'extras': 'ssdlite', 'taps': 'expansion', 'first_stride': 16,
    'extra_channels': list(_EXTRA_CHANNELS), 'scales': [0.2, 0.35, 0.5, 0.65, 0.8, 0.95],
    'aspect_ratios': [[2.0], *[[2.0, 3.0]] * 5], 'prior_shapes': 'tensorflow',
    'stride2_padding': 'tensorflow_extras'}
LEVELS = 2 + len(_EXTRA_CHANNELS)

PRIORS = 'Postprocessor/ExpandDims'  # (1, P, 4) ymin, xmin, ymax, xmax
INPUT_SIZE = 'Preprocessor/map/while/ResizeImage/stack'  # height, width
SIZE_VARIANCE = 0.2
CONSTANTS = {  # fixed by the configuration and the box decoder of this package
    'Preprocessor/mul/x': 2 / 255, 'Preprocessor/sub/y': 1.0,
    'ConstantFolding/Postprocessor/Decode/div_recip': 0.1,
    'ConstantFolding/Postprocessor/Decode/div_2_recip': SIZE_VARIANCE,
    'ConstantFolding/Postprocessor/Decode/div_4_recip': 0.5}


def normalised_layers() -> Iterator[tuple[str, str]]:
    """Yield the name here, and the scope there, of each convolution with BatchNorm."""
    scope = 'FeatureExtractor/MobilenetV2/'
    yield 'backbone.features.0.0', f'{scope}Conv'
    yield 'backbone.features.1.conv.0.0', f'{scope}expanded_conv/depthwise'
    yield 'backbone.features.1.conv.1', f'{scope}expanded_conv/project'
    for block in range(1, 17):
        ours, theirs = f'backbone.features.{block + 1}.conv', f'{scope}expanded_conv_{block}'
        yield f'{ours}.0.0', f'{theirs}/expand'
        yield f'{ours}.1.0', f'{theirs}/depthwise'
        yield f'{ours}.2', f'{theirs}/project'
    yield 'backbone.features.18.0', f'{scope}Conv_1'
    for index, channels in enumerate(_EXTRA_CHANNELS):
        number = index + 2
        yield f'extras.{index}.0.0', f'{scope}layer_19_1_Conv2d_{number}_1x1_{channels // 2}'
        filtered = f'{scope}layer_19_2_Conv2d_{number}_3x3_s2_{channels}'
        yield f'extras.{index}.1.0', f'{filtered}_depthwise'
        yield f'extras.{index}.2.0', filtered
    for level in range(LEVELS):
        for ours, theirs in ((f'loc_heads.{level}', loc_scope(level)),
                             (f'conf_heads.{level}', class_scope(level))):
            yield f'{ours}.0.0', f'{theirs}_depthwise'


def loc_scope(level: int) -> str:
    """Return the scope of the box predictor of a map."""
    return f'BoxPredictor_{level}/BoxEncodingPredictor'


def class_scope(level: int) -> str:
    """Return the scope of the class predictor of a map."""
    return f'BoxPredictor_{level}/ClassPredictor'
