"""Check that the weights of an INT8 file cannot saturate a kernel; see model.weight_grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
import onnx

from mbv2ssd_train.model.weight_grid import has_one_order, LARGEST_SUM, sums_of_two
from mbv2ssd_train.onnx_files.graph import attribute, GraphIndex
from mbv2ssd_train.quantize.lint import Violation

RULE = 'saturation'
LARGEST_BYTE, INT16 = 255, np.iinfo(np.int16)


def check_saturation(model: onnx.ModelProto) -> list[Violation]:
    """
    Return the worst weight pair of each layer with a pair beyond 16 bits, in graph order.

    Convolutions, depthwise ones too, and matrix products that read a map of bytes are checked.
    """
    index = GraphIndex(model.graph)
    return [found for node in index.of_type('Conv', 'MatMul', 'Gemm')
            for found in _layer(index, node)]


def _layer(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Violation]:
    integers = _integers(index, node)
    if integers is None:
        return
    channels = np.moveaxis(integers, _output_axis(node), 0)
    sums = sums_of_two(channels.astype(np.int32)).max(axis=1)
    if (over := int((sums > LARGEST_SUM).sum())) == 0:
        return
    channel = int(sums.argmax())
    (first, at_first), (second, at_second) = _worst_pair(
        channels[channel], neighbours=has_one_order(channels))
    total = LARGEST_BYTE * (first + second)
    pair = f'{first} {"-" if second < 0 else "+"} {abs(second)}'
    yield Violation(
        node.name, RULE, f'has the weights {first} at {at_first} and {second} at {at_second} of '
        f'its output channel {channel}; {LARGEST_BYTE} * ({pair}) = {total} leaves '
        f'{INT16.min} to {INT16.max}, which x86-64 without VNNI adds two products in; {over} of '
        f'{len(sums)} channels have such a pair. Quantise the float32 file again')


def _integers(index: GraphIndex, node: onnx.NodeProto) -> NDArray[np.int8] | None:
    """Return the signed weights of a node with a quantised map; float ones are left out."""
    data, weight = (index.writer(name) for name in node.input[:2])
    if any(part is None or part.op_type != 'DequantizeLinear' for part in (data, weight)):
        return None
    assert weight is not None
    steps = index.constant(weight, 0)
    # unsigned weights are multiplied by kernels of their own, in 32 bits
    return steps if steps is not None and steps.dtype == np.int8 else None


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == 'Gemm' and attribute(node, 'transB', 0):
        return 0
    return 0 if node.op_type == 'Conv' else -1


def _worst_pair(channel: NDArray[np.int8], neighbours: bool
                ) -> list[tuple[int, tuple[int, ...]]]:
    """Return the positions of the two weights of one sign with the largest sum."""
    values = channel.reshape(-1).astype(int)
    if neighbours:
        pairs = [(at, at + 1) for at in range(len(values) - 1)]
    else:
        ascending = np.argsort(values).tolist()
        pairs = [(ascending[-1], ascending[-2]), (ascending[0], ascending[1])]
    worst = max(pairs, key=lambda pair: abs(values[list(pair)].sum()))
    return [(int(values[at]), tuple(map(int, np.unravel_index(at, channel.shape))))
            for at in worst]
