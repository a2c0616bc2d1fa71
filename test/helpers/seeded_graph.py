"""The graph of TensorFlow's SSDLite MobileNetV2 with weights that anybody can make again."""

from collections.abc import Mapping
import json
from math import prod, sqrt
import zlib

import numpy as np

from helpers.paths import ROOT

FIGURES = ROOT / 'test' / 'train' / 'weights' / 'tensorflow_figures.npz'
COLUMNS = 6  # the background and five classes
RANGES = {'mul': (0.7, 1.3), 'gamma': (0.7, 1.3), 'moving_variance': (0.5, 1.5)}  # else +-0.2


def listed_shapes(figures):
    """Return name: (type, shape) of all constants; the figures list them with COLUMNS."""
    found = {}
    for line in str(figures['shapes']).splitlines():
        name, kind, *sides = line.split(' ')
        found[name] = kind, tuple(map(int, sides))
    return found


def seeded_graph(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Give each weight values that depend on its name alone, and each constant its meaning."""
    found = {name: _values(name, shape) if kind == 'float32' else np.zeros(shape, np.int32)
             for name, (kind, shape) in shapes.items()}
    found['Postprocessor/ExpandDims'] = their_priors()[None]
    found['Preprocessor/map/while/ResizeImage/stack'] = np.array([300, 300], np.int32)
    for name, value in (('Preprocessor/mul/x', 2 / 255), ('Preprocessor/sub/y', 1),
                        ('ConstantFolding/Postprocessor/Decode/div_recip', 0.1),
                        ('ConstantFolding/Postprocessor/Decode/div_2_recip', 0.2),
                        ('ConstantFolding/Postprocessor/Decode/div_4_recip', 0.5)):
        found[name] = np.array(value, np.float32)
    return found


def _values(name, shape):
    low, high = RANGES.get(name.rpartition('/')[2], (-0.2, 0.2))
    if len(shape) == 4:  # (H, W, in, out), or (H, W, channels, 1); keeps the size of what passes
        inputs = prod(shape[:2]) if name.endswith('depthwise_weights') else prod(shape[:3])
        high = sqrt(6 / inputs) * _gain(name)
        low = -high
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return (low + (high - low) * rng.random(shape)).astype(np.float32)


def _gain(name):
    if '/project/' in name:  # what they add up to would go on growing
        return 0.75
    return 0.7 if name.startswith('BoxPredictor') else 1.0  # maps of a few cells are large


def their_priors():
    """Return (1917, 4) float32 ymin, xmin, ymax, xmax as TensorFlow lays them out."""
    scales, boxes = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0), []
    for level, side in enumerate((19, 10, 5, 3, 2, 1)):
        scale = scales[level]
        kinds = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
        kinds.append((sqrt(scale * scales[level + 1]), 1.0))
        if level == 0:
            kinds = [(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]
        for row in range(side):
            for column in range(side):
                for size, ratio in kinds:
                    y, x = (row + 0.5) / side, (column + 0.5) / side
                    height, width = size / sqrt(ratio), size * sqrt(ratio)
                    boxes.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    return np.array(boxes, np.float32)


def write_graph(folder, weights, topology=None, shards=2):
    """Write model.json and its shards."""
    content = b''.join(value.tobytes() for value in weights.values())
    length = -(-len(content) // shards)
    paths = [f'group1-shard{number + 1}of{shards}' for number in range(shards)]
    for number, path in enumerate(paths):
        (folder / path).write_bytes(content[number * length:(number + 1) * length])
    listed = [{'name': name, 'dtype': str(value.dtype), 'shape': list(value.shape)}
              for name, value in weights.items()]
    (folder / 'model.json').write_text(json.dumps({
        'modelTopology': topology, 'weightsManifest': [{'paths': paths, 'weights': listed}]}))
    return folder / 'model.json'
