"""
Quantisation after training, for two very different machines.

A CPU (ONNX Runtime) is fastest with asymmetric 8-bit activations everywhere, and on x86-64
without VNNI its kernels saturate with large weights (see model.weight_grid). TensorRT refuses
zero points and quantised biases, and fuses Conv -> ReLU6 -> Q/DQ only when nothing stands between
them. Weights have a scale for each output channel in both: with one scale for a whole depthwise
layer the shipped model falls from 60 to 8 mAP.
"""

from __future__ import annotations

from contextlib import redirect_stdout
import dataclasses
from io import StringIO
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    quantize_static,
    QuantType,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from mbv2ssd_ros.core.contract import SATURATION_FREE_KEY
from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_train.data.identity import LEARNT_KEY
from mbv2ssd_train.model.weight_grid import channel_scales
from mbv2ssd_train.onnx_files.graph import GraphIndex
from mbv2ssd_train.onnx_files.model_file import (
    check_name,
    declare_used_opsets,
    read_float32,
    save_beside,
    set_contract,
    set_metadata,
)
from mbv2ssd_train.quantize.cpu_predictors import multiply_predictors
from mbv2ssd_train.quantize.lint import check_graph, Violation
from mbv2ssd_train.quantize.placement import find_placement, Placement
from mbv2ssd_train.quantize.saturation import check_saturation

TARGETS = ('cpu', 'tensorrt')
METHODS = {'minmax': CalibrationMethod.MinMax, 'entropy': CalibrationMethod.Entropy,
           'percentile': CalibrationMethod.Percentile}


def quantize_onnx(source: Path, output: Path, images: CalibrationDataReader, target: str,
                  method: str, note: str, portion: int | None = None) -> None:
    """
    Write an INT8 copy of a float32 model with a contract.

    Images calibrate the ranges of activations; `portion` of them, a divisor of their number, are
    in memory at a time with all their maps (None: all). `note` is added to the provenance.

    Raises ContractError where the source has no contract, is not float32 or not of our graphs,
    TensorRT would refuse the result or a CPU could saturate; ConfigError where the output does not
    end in .onnx.
    """
    check_name(output)
    restored, contract = read_float32(source, 'quantise')
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / 'prepared.onnx', Path(folder) / 'quantised.onnx'
        onnx.save(restored, prepared)  # old quantisers take no model in memory
        quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
        float_model = onnx.load(prepared)
        placement = find_placement(float_model, str(source))
        settings = _settings(target, placement)
        if target == 'cpu':
            settings['extra_options']['TensorQuantOverrides'] = _grid(float_model, placement)
        settings['extra_options']['CalibStridedMinMax'] = portion  # applies to all methods
        with redirect_stdout(StringIO()):  # a line for each portion of the images
            quantize_static(
                str(prepared), str(quantised), images, quant_format=QuantFormat.QDQ,
                per_channel=True, calibrate_method=METHODS[method],
                **settings)
        model = onnx.load(quantised)
    if target == 'cpu':
        feed_bytes(model)
        multiply_predictors(model)
        _refuse(check_saturation(model), f'{output}: a CPU could saturate with it')
        set_metadata(model, SATURATION_FREE_KEY, '1')
    else:
        _refuse(check_graph(model), f'{output}: TensorRT would not take it')
    declare_used_opsets(model)
    learnt = {item.key: item.value for item in restored.metadata_props}.get(LEARNT_KEY)
    if learnt is not None:
        set_metadata(model, LEARNT_KEY, learnt)
    set_contract(model, dataclasses.replace(
        contract, precision='int8', provenance=dataclasses.replace(
            contract.provenance, config=f'# {note}\n{contract.provenance.config}')))
    onnx.checker.check_model(model, full_check=True)
    save_beside(model, output).replace(output)


def _settings(target: str, placement: Placement) -> dict[str, Any]:
    if target == 'cpu':
        return {
            'activation_type': QuantType.QUInt8, 'weight_type': QuantType.QInt8,
            'op_types_to_quantize': ['Conv', 'Add', 'Clip', 'Relu', 'MaxPool', 'Resize'],
            # see multiply_predictors: results in 8 bits would cost 0.45 mAP
            'nodes_to_exclude': [*placement.outside, *placement.predictors],
            'extra_options': {'ActivationSymmetric': False, 'WeightSymmetric': True}}
    return {
        'activation_type': QuantType.QInt8, 'weight_type': QuantType.QInt8,
        # the output of a Resize stays in integers up to its addition
        'op_types_to_quantize': ['Conv', 'Resize'], 'nodes_to_exclude': list(placement.outside),
        'extra_options': {
            'ActivationSymmetric': True, 'WeightSymmetric': True, 'QuantizeBias': False,
            # nothing between Conv and ReLU6, nothing behind the predictors
            'OpTypesToExcludeOutputQuantization': ['Conv']}}


def _grid(model: onnx.ModelProto, placement: Placement) -> dict[str, list[dict[str, Any]]]:
    """Return the scales of all convolutions' weights in the format of ONNX Runtime's quantiser."""
    index, found = GraphIndex(model.graph), {}
    for node in index.of_type('Conv'):
        weights = index.constant(node, 1)
        if node.name in placement.body and weights is not None:
            found[node.input[1]] = [{'axis': 0, 'scale': scale, 'zero_point': np.array(0, np.int8)}
                                    for scale in channel_scales(weights)]
    return found


def _refuse(violations: list[Violation], why: str) -> None:
    if violations:
        raise ContractError(f'{why}, {len(violations)} violations, the first: {violations[0]}; '
                            'nothing was written')


def feed_bytes(model: onnx.ModelProto) -> None:
    """
    Let the first convolution read the image's bytes, changing the model in place.

    Normalising to float and quantising again would cost a third of the inference. The image is an
    8-bit tensor with scale 1/127.5 and zero point 127.5 already; the half by which the zero point
    128 differs is added to the bias, which is exact except at the padded border. Raises
    ContractError unless the graph begins with Cast, Transpose, Mul, Add, QuantizeLinear,
    DequantizeLinear, Conv.
    """
    graph = model.graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    chain = _chain_from_input(graph)
    kinds = [node.op_type for node in chain]
    expected = ['Cast', 'Transpose', 'Mul', 'Add', 'QuantizeLinear', 'DequantizeLinear', 'Conv']
    if kinds != expected:
        raise ContractError(f'the graph begins with {kinds}, expected {expected}')
    _, transpose, multiply, add, quantise, dequantise, conv = chain
    scale = values[multiply.input[1]].reshape(-1)  # real value of one step, for each channel
    offset = values[add.input[1]].reshape(-1)
    if np.ptp(scale) > 1e-9:
        return  # channels of different scale cannot share one: keep the float normalisation
    # half up, with a margin: 127.5 must not depend on the last bit of its float
    zero_point = np.floor(-offset / scale + 0.501)
    rest = offset + scale * zero_point  # what the rounded zero point leaves
    if np.ptp(zero_point) > 0 or not 0 <= zero_point[0] <= 255:
        return
    transpose.input[0] = graph.input[0].name
    dequantise.input[0] = transpose.output[0]
    _replace(graph, np.float32(scale[0]), 'image_scale', dequantise, 1)
    _replace(graph, np.uint8(zero_point[0]), 'image_zero_point', dequantise, 2)
    _shift_bias(graph, values, conv, float(scale[0]), rest)
    for node in (chain[0], multiply, add, quantise):
        graph.node.remove(node)
    # value_info of the removed tensors would be wrong
    del graph.value_info[:]


def _chain_from_input(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    chain: list[onnx.NodeProto] = []
    tensor = graph.input[0].name
    while not chain or chain[-1].op_type != 'Conv':
        users = [node for node in graph.node if node.input and node.input[0] == tensor]
        if len(users) != 1:
            break
        chain.append(users[0])
        tensor = users[0].output[0]
    return chain


def _replace(graph: onnx.GraphProto, value: Any, name: str, node: onnx.NodeProto, place: int
             ) -> None:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    node.input[place] = name


def _shift_bias(graph: onnx.GraphProto, values: dict[str, Any], conv: onnx.NodeProto,
                image_scale: float, rest: Any) -> None:
    """Add the contribution of a constant `rest` in every input channel to each bias."""
    producers = {output: node for node in graph.node for output in node.output}
    steps, weight_scale = (values[name] for name in producers[conv.input[1]].input[:2])
    weights = steps.astype(np.float64) * weight_scale.reshape(-1, 1, 1, 1)
    shift = (weights * rest.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))
    if len(conv.input) < 3:  # the exporter leaves out a bias of zeros
        _add_zero_bias(graph, values, conv, (image_scale * weight_scale).astype(np.float32))
        producers = {output: node for node in graph.node for output in node.output}
    bias_node = producers[conv.input[2]]
    bias_steps, bias_scale = (values[name] for name in bias_node.input[:2])
    shifted = bias_steps + np.round(shift / bias_scale).astype(bias_steps.dtype)
    _replace(graph, shifted, f'{bias_node.input[0]}_shifted', bias_node, 0)


def _add_zero_bias(graph: onnx.GraphProto, values: dict[str, Any], conv: onnx.NodeProto,
                   scale: Any) -> None:
    parts = {'image_bias': np.zeros(scale.shape, np.int32), 'image_bias_scale': scale,
             'image_bias_zero_point': np.zeros(scale.shape, np.int32)}
    for name, value in parts.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
    values.update(parts)
    node = helper.make_node('DequantizeLinear', list(parts), ['image_bias_float'],
                            name='image_bias_dequantised', axis=0)
    graph.node.insert(list(graph.node).index(conv), node)
    conv.input.append('image_bias_float')
