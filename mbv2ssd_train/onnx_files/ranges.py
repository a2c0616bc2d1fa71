"""The ranges of a calibrated INT8 file, to start quantisation-aware training from."""

from __future__ import annotations

from pathlib import Path

import onnx

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.model.fake_quantise import quantisers
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.onnx_files.graph import GraphIndex

_PREFIX, _SUFFIX = 'network.', '.weight'  # around a layer's name in an exported file


def load_ranges(network: SSD, path: str | Path) -> int:
    """
    Load all ranges of a file of `quantize --target tensorrt`; return their number.

    Raises DataError where the file is missing or quantises other layers than the network.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f'{source}: no such file; set quantize.ranges_from to what '
                        '`mbv2ssd_train quantize --target tensorrt` wrote for this model')
    index, wanted = GraphIndex(onnx.load(source).graph), quantisers(network)
    found = {name: float(index.constants[scale]) for name, scale in scale_constants(index).items()}
    if differ := sorted(found.keys() ^ wanted.keys()):
        raise DataError(
            f'{source}: computes {len(found)} layers in integers, this network has {len(wanted)} '
            f'such layers; {differ[0]} is one of {len(differ)} that only one of both has. Was it '
            'made by `mbv2ssd_train quantize --target tensorrt` from this architecture?')
    for name, quantiser in wanted.items():
        quantiser.scale.fill_(found[name])
    return len(found)


def scale_constants(index: GraphIndex) -> dict[str, str]:
    """Return the constant with the scale of each quantised convolution's input, by layer."""
    found = {}
    for node in index.of_type('Conv'):
        data, weight = (index.writer(name) for name in node.input[:2])
        if data is not None and weight is not None \
                and data.op_type == weight.op_type == 'DequantizeLinear':
            layer = weight.input[0].removesuffix('_quantized')
            found[layer.removeprefix(_PREFIX).removesuffix(_SUFFIX)] = data.input[1]
    return found
