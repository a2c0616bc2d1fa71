"""
Check that TensorRT accepts a Q/DQ graph and computes it in integers.

Only its library could check otherwise: ONNX Runtime computes many graphs that TensorRT refuses, or
runs without fusing. The rules hold for TensorRT 8.6 to 11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_train.onnx_files.graph import attribute, GraphIndex, is_depthwise

OLDEST_OPSET, NEWEST_OPSET = 13, 17  # scales of channels; what TensorRT 8.6 reads
# the operators of our graphs that TensorRT's ONNX parser knows
OPERATORS = frozenset({
    'Add', 'AveragePool', 'Cast', 'Clip', 'Concat', 'Conv', 'DequantizeLinear', 'Div', 'Exp',
    'Flatten', 'GlobalAveragePool', 'HardSigmoid', 'Identity', 'MaxPool', 'Mul',
    'Pad', 'QuantizeLinear', 'Reciprocal', 'ReduceMean', 'ReduceSum', 'Relu', 'Reshape', 'Resize',
    'Sigmoid', 'Slice', 'Softmax', 'Split', 'Sqrt', 'Squeeze', 'Sub', 'Transpose', 'Unsqueeze'})
_ACTIVATIONS = ('Clip', 'Relu', 'HardSigmoid', 'HardSwish', 'Sigmoid')
_Q, _DQ = 'QuantizeLinear', 'DequantizeLinear'


@dataclass(frozen=True)
class Violation:
    """A reason for a target to refuse a graph, or to compute it slower or worse."""

    node: str  # name; '' where it is about the whole file
    rule: str  # short name
    message: str

    def __str__(self) -> str:
        return f'{self.rule}: {self.node or "the file"} {self.message}'


def check_qdq(path: str | Path) -> list[Violation]:
    """Return what TensorRT does not take in a file of `quantize --target tensorrt`, by rule."""
    try:
        model = onnx.load(path)
    except Exception as err:  # protobuf's errors have no common base; includes a missing file
        raise ContractError(f'{path}: cannot be read as ONNX: {err}') from err
    return check_graph(model)


def check_graph(model: onnx.ModelProto) -> list[Violation]:
    """Return the violations of a model in memory; see check_qdq."""
    index = GraphIndex(model.graph)
    rules = (_operators, _bytes_behind_the_cast, _clip_bounds, _resizes, _zero_points, _unsigned,
             _scales, _integer_biases, _before_activations, _additions, _behind_predictors,
             _weights)
    return [*_opset(model), *(found for rule in rules for found in rule(index))]


def has_qdq(path: str | Path) -> bool:
    """Return whether a file has a Q or DQ node, so integer arithmetic."""
    return any(node.op_type in (_Q, _DQ) for node in onnx.load(path).graph.node)


def _opset(model: onnx.ModelProto) -> Iterator[Violation]:
    for item in model.opset_import:
        if item.domain in ('', 'ai.onnx') and not OLDEST_OPSET <= item.version <= NEWEST_OPSET:
            yield Violation('', 'opset', f'is of opset {item.version}, expected {OLDEST_OPSET} to '
                            f'{NEWEST_OPSET}, the newest that TensorRT 8.6 reads')


def _operators(index: GraphIndex) -> Iterator[Violation]:
    for node in index.nodes:
        if node.domain not in ('', 'ai.onnx'):
            yield Violation(node.name, 'operator', f'is {node.domain}.{node.op_type}, which only '
                            'ONNX Runtime knows')
        elif node.op_type not in OPERATORS:
            yield Violation(node.name, 'operator', f'is a {node.op_type}, which TensorRT lacks or '
                            'no graph of ours needs')


def _bytes_behind_the_cast(index: GraphIndex) -> Iterator[Violation]:
    for node in index.nodes:
        if 'images' in node.input and node.op_type != 'Cast':
            yield Violation(node.name, 'uint8-input', f'is a {node.op_type} of the image; '
                            'TensorRT takes uint8 into a Cast only')


def _clip_bounds(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type('Clip'):
        if any(name and name not in index.constants for name in node.input[1:]):
            yield Violation(node.name, 'clip-bounds', 'has bounds that are computed, expected '
                            'constants')


def _resizes(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type('Resize'):
        if attribute(node, 'mode', b'nearest') != b'nearest' or index.constant(node, 2) is None:
            yield Violation(node.name, 'resize', 'blends cells or has scales that are computed, '
                            'expected the nearest cell and constant scales')


def _zero_points(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type(_Q, _DQ):
        if len(node.input) < 3 or not node.input[2]:
            continue
        zero_point = index.constant(node, 2)
        if zero_point is None:
            yield Violation(node.name, 'zero-point', 'has a zero point that is computed, expected '
                            'the constant 0')
        elif zero_point.any():
            yield Violation(node.name, 'zero-point', 'has the zero point '
                            f'{zero_point[zero_point != 0].flat[0]}, expected 0')


def _unsigned(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type(_Q):
        zero_point = index.constant(node, 2)
        # without one the result is uint8 by definition
        kind = np.dtype(np.uint8) if zero_point is None else zero_point.dtype
        if kind != np.int8:
            yield Violation(node.name, 'activation-type', f'gives {kind}, expected int8')
    for node in index.of_type(_DQ):
        steps = index.constant(node, 0)
        if steps is not None and steps.dtype not in (np.int8, np.int32):  # int32: see biases
            yield Violation(node.name, 'weight-type', f'reads {steps.dtype}, expected int8')


def _scales(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type(_Q, _DQ):
        scale = index.constant(node, 1)
        if scale is None:
            yield Violation(node.name, 'scale', 'has a scale that is computed, expected a '
                            'constant')
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield Violation(node.name, 'scale', 'has a scale that is not above 0')


def _integer_biases(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type('Conv'):
        bias = index.writer(node.input[2]) if len(node.input) > 2 else None
        if bias is not None and bias.op_type == _DQ:
            yield Violation(node.name, 'integer-bias', f'has a quantised bias ({bias.name}), '
                            'expected a float one')


def _before_activations(index: GraphIndex) -> Iterator[Violation]:
    """Conv and its activation fuse only when nothing stands between them."""
    for node in index.of_type(*_ACTIVATIONS):
        quantise = _quantiser(index, node.input[0])
        source = quantise and index.writer(quantise.input[0])
        if quantise and source and source.op_type == 'Conv':
            yield Violation(quantise.name, 'before-activation',
                            f'stands between {source.name} and its activation {node.name}, which '
                            'are not fused then')


def _additions(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type('Add'):
        if all(_quantiser(index, name) for name in node.input):
            yield Violation(node.name, 'addition', 'has two quantised inputs, expected the skip '
                            'only, so that the convolution is fused with it')


def _quantiser(index: GraphIndex, tensor: str) -> onnx.NodeProto | None:
    """Return the QuantizeLinear that a tensor has just passed, if any."""
    dequantise = index.writer(tensor)
    if dequantise is None or dequantise.op_type != _DQ:
        return None
    quantise = index.writer(dequantise.input[0])
    return quantise if quantise is not None and quantise.op_type == _Q else None


def _behind_predictors(index: GraphIndex) -> Iterator[Violation]:
    for predictor in index.predictors():
        for node in index.behind(predictor.output):
            if node.op_type in (_Q, _DQ):
                yield Violation(node.name, 'behind-predictor', 'quantises what the predictor '
                                f'{predictor.name} says; scores and boxes need float')


def _weights(index: GraphIndex) -> Iterator[Violation]:
    for node in index.of_type('Conv'):
        activation, weight = (index.writer(name) for name in node.input[:2])
        quantised = [part is not None and part.op_type == _DQ for part in (activation, weight)]
        if quantised[0] != quantised[1]:
            which = 'activations' if quantised[0] else 'weights'
            yield Violation(node.name, 'half-quantised', f'has quantised {which} only, so it is '
                            'computed in float')
        if weight is not None and quantised[1]:
            yield from _channel_scales(index, node, weight)


def _channel_scales(index: GraphIndex, node: onnx.NodeProto, weight: onnx.NodeProto
                    ) -> Iterator[Violation]:
    steps, scale = index.constant(weight, 0), index.constant(weight, 1)
    if steps is None:  # float weights that are quantised in the graph, as older TensorRT wants it
        quantise = index.writer(weight.input[0])
        steps = index.constant(quantise, 0) if quantise is not None else None
    if steps is None or scale is None:
        yield Violation(node.name, 'weights', 'has quantised weights that are computed, expected '
                        'constants')
    elif scale.size == 1 and is_depthwise(node, len(steps)):
        yield Violation(node.name, 'channel-scales', f'is depthwise with one scale for all '
                        f'{len(steps)} channels, expected one for each')
    elif scale.size > 1 and (attribute(weight, 'axis', 1), scale.size) != (0, len(steps)):
        yield Violation(node.name, 'channel-scales',
                        f'has {scale.size} scales on axis {attribute(weight, "axis", 1)} of its '
                        f'weights, expected {len(steps)} on axis 0, the output channels')
