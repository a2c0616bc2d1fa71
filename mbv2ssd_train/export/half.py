"""
A float16 copy of a model, with float32 at both ends.

TensorRT takes precisions from the types in the file from version 10 on, so the casts are part of
the model: one before the first convolution, one for all boxes and one for all scores behind the
predictors. Normalisation, decoding and scores stay in float32: in float16 a coordinate would be
off by half a pixel of a wide image, and an exponential could overflow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime

from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_train.onnx_files.graph import GraphIndex

LARGEST = float(np.finfo(np.float16).max)  # 65504
_FLOAT32_CONSTANTS = ('Resize',)  # whose scales have no other type
_LAYOUT = ('Transpose', 'Reshape', 'Concat')  # bring predictions into the order of the priors


class Float16Error(Mbv2SsdError):
    """A model has numbers outside the range of float16."""


def to_float16(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """
    Copy an exported float32 model with float16 from the first convolution to the predictions.

    The sums of squares in VGG16's L2 norm stay in float32: they overflow float16. The copy is
    checked and keeps the metadata. Raises ContractError for a graph of another origin,
    Float16Error where a weight is too large.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    index = GraphIndex(copy.graph)
    inside = float16_nodes(index, source)
    _halve_constants(copy.graph, index, inside, source)
    _cast_at_borders(copy.graph, index, inside)
    del copy.graph.value_info[:]  # their types are no longer true
    return onnx.shape_inference.infer_shapes(copy, check_type=True, strict_mode=True)


def float16_nodes(index: GraphIndex, source: str) -> set[str]:
    """
    Return the names of the nodes to compute in float16.

    Raises ContractError for a graph that `mbv2ssd_train export` did not write.
    """
    body = {node.name for node in index.body(source)} - index.norms()
    layout: set[str] = set()
    for node in index.nodes:
        writers = {writer.name for writer in index.inputs(node)}
        if node.op_type in _LAYOUT and writers and writers <= body | layout:
            layout.add(node.name)
    return body | layout


def check_activations(model: onnx.ModelProto, images: Iterable[NDArray[np.uint8]], source: str
                      ) -> float:
    """
    Return the largest magnitude in a float32 model's feature maps.

    ONNX Runtime computes float16 in float32 on a CPU, so it would not show an overflow. Images are
    (H, W, 3) uint8 RGB of the input size. Raises Float16Error, with the layer, beyond float16's
    range.
    """
    index = GraphIndex(model.graph)
    inside = float16_nodes(index, source)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [name for node in index.nodes if node.name in inside for name in node.output]
    watched.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options,
                                           providers=['CPUExecutionProvider'])
    largest, where = 0.0, ''
    for image in images:
        for name, value in zip(names, session.run(names, {'images': image[None]}), strict=True):
            if not (magnitude := float(np.abs(value).max())) <= largest:
                largest, where = magnitude, name
    if not largest <= LARGEST:
        raise Float16Error(
            f'{source}: the map {where!r} reaches {largest:.0f}, float16 ends at {LARGEST:.0f}; '
            'use this model in float32')
    return largest


def _halve_constants(graph: onnx.GraphProto, index: GraphIndex, inside: set[str], source: str
                     ) -> None:
    """Give the nodes inside float16 constants; those that others also read are doubled."""
    shared = {name for node in index.nodes if node.name not in inside for name in node.input}
    halves: dict[str, onnx.TensorProto] = {}
    for node in index.nodes:
        if node.op_type in _FLOAT32_CONSTANTS:
            continue
        for place, name in enumerate(node.input):
            values = index.constants.get(name)
            if node.name not in inside or values is None or values.dtype != np.float32:
                continue
            half = f'{name}_float16' if name in shared else name
            if half not in halves:
                halves[half] = numpy_helper.from_array(
                    _half(values, name, node.name, source), half)
            node.input[place] = half
    kept = [item for item in graph.initializer if item.name not in halves]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *halves.values()])


def _half(values: NDArray[Any], name: str, node: str, source: str) -> NDArray[np.float16]:
    worst = float(np.abs(values).max()) if values.size else 0.0
    if not worst <= LARGEST:
        raise Float16Error(
            f'{source}: {name!r} of node {node!r} has the value {worst:g}, float16 ends at '
            f'{LARGEST:.0f}; use this model in float32, or train it with '
            'optimizer.weight_decay')
    return values.astype(np.float16)


def _cast_at_borders(graph: onnx.GraphProto, index: GraphIndex, inside: set[str]) -> None:
    """Cast what one side computes and the other reads, each tensor once."""
    cast: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in index.nodes:
        is_half = node.name in inside
        for place, name in enumerate(node.input):
            writer = index.writer(name)
            if writer is None or (writer.name in inside) == is_half:
                continue
            if name not in cast:
                cast[name] = f'{name}_{"float16" if is_half else "float32"}'
                nodes.append(helper.make_node(
                    'Cast', [name], [cast[name]], name=f'cast_{cast[name]}',
                    to=TensorProto.FLOAT16 if is_half else TensorProto.FLOAT))
            node.input[place] = cast[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
