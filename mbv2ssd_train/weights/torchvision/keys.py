"""torchvision's SSD detectors: their configurations here, and the names of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import re
from typing import Any

from torch import Tensor

from mbv2ssd_ros.core.errors import DataError

# COCO's categories by id, 1 to 90; ten ids are unused
COCO_BY_ID = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', '', 'stop sign', 'parking meter', 'bench', 'bird', 'cat',
    'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', '', 'backpack',
    'umbrella', '', '', 'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard',
    'sports ball', 'kite', 'baseball bat', 'baseball glove', 'skateboard', 'surfboard',
    'tennis racket', 'bottle', '', 'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl',
    'banana', 'apple', 'sandwich', 'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut',
    'cake', 'chair', 'couch', 'potted plant', 'bed', '', 'dining table', '', '', 'toilet', '',
    'tv', 'laptop', 'mouse', 'remote', 'keyboard', 'cell phone', 'microwave', 'oven', 'toaster',
    'sink', 'refrigerator', '', 'book', 'clock', 'vase', 'scissors', 'teddy bear', 'hair drier',
    'toothbrush')
# A softmax over a column for each id: the unused ones stay, under names of their own.
COCO_CLASSES = tuple(name or f'unused {number}' for number, name in enumerate(COCO_BY_ID, 1))

_WHOLE_TAIL = 960  # channels of the last layer of MobileNetV3-Large

_HEADS = (
    (r'head\.classification_head\.module_list\.', 'conf_heads.'),
    (r'head\.regression_head\.module_list\.', 'loc_heads.'))


@dataclass(frozen=True)
class TorchvisionDetector:
    """An architecture."""

    model: Mapping[str, Any]  # section of the configuration
    names: tuple[tuple[str, str], ...]  # pattern of a weight's prefix, and the prefix here

    def rename(self, name: str) -> str:
        """Translate the name of a weight; DataError if the architecture does not have it."""
        for pattern, ours in (*self.names, *_HEADS):
            match = re.match(pattern, name)
            if match:
                return match.expand(ours) + name[match.end():]
        raise DataError(f'it has a weight {name!r}, which this architecture has not')


def class_columns(weights: Mapping[str, Tensor], shapes: int) -> int:
    """Count the score columns, with background, from the first class predictor, or DataError."""
    biases = [value for name, value in weights.items()
              if re.fullmatch(r'conf_heads\.0\.(1\.)?bias', name)]
    if len(biases) != 1 or biases[0].ndim != 1 or len(biases[0]) % shapes:
        raise DataError(f'its first class predictor is no layer for {shapes} prior boxes a cell')
    return len(biases[0]) // shapes


def tail_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """
    Return reduced_tail of a MobileNetV3 as part of a model section; empty for other backbones.

    torchvision halves the tail in a detector that does not start with ImageNet weights.
    """
    last = weights.get('backbone.features.16.0.weight')
    return {} if last is None else {'reduced_tail': len(last) < _WHOLE_TAIL}


DETECTORS = {
    'ssd300_vgg16': TorchvisionDetector(
        {'input_size_hw': [300, 300], 'backbone': 'vgg16', 'head': 'ssd',
         'extra_channels': [512, 256, 256, 256],
         'scales': [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
         'aspect_ratios': [[2], [2, 3], [2, 3], [2, 3], [2], [2]], 'clip_priors': True,
         'mean': [0.48235, 0.45882, 0.40784], 'std': 1 / 255},
        ((r'backbone\.scale_weight$', 'backbone.l2_norm.scale'),
         (r'backbone\.features\.', 'backbone.features.'),
         (r'backbone\.extra\.0\.1\.', 'backbone.features.24.'),
         (r'backbone\.extra\.0\.3\.', 'backbone.features.26.'),
         (r'backbone\.extra\.0\.5\.', 'backbone.features.28.'),
         (r'backbone\.extra\.0\.7\.1\.', 'backbone.fc6.'),
         (r'backbone\.extra\.0\.7\.3\.', 'backbone.fc7.'),
         *((rf'backbone\.extra\.{number}\.', f'extras.{number - 1}.') for number in range(1, 5)))),
    'ssdlite320_mobilenet_v3_large': TorchvisionDetector(
        {'input_size_hw': [320, 320], 'backbone': 'mobilenet_v3_large', 'reduced_tail': True,
         'first_stride': 16, 'extra_channels': [512, 256, 256, 128],
         'scales': [0.2, 0.35, 0.5, 0.65, 0.8, 0.95], 'clip_priors': True},
        # its backbone is split after the expansion layer of block 13
        ((r'backbone\.features\.0\.13\.', 'backbone.features.13.block.0.'),
         (r'backbone\.features\.0\.', 'backbone.features.'),
         (r'backbone\.features\.1\.0\.', 'backbone.features.13.block.'),
         *((rf'backbone\.features\.1\.{number}\.', f'backbone.features.{13 + number}.')
           for number in range(1, 4)),
         (r'backbone\.extra\.', 'extras.')))}
