"""Predictors of a CPU file: products of integers that give the floats of the convolution."""

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime
import pytest

from mbv2ssd_train.quantize.cpu_predictors import multiply_predictors, quantise_columns

RNG = np.random.default_rng(5)
MAPS = RNG.integers(0, 256, (2, 8, 3, 5), dtype=np.uint8)  # channels first, not square


def quantised_graph(weights, bias):
    """A byte map, dequantised, a predictor and its transposition, as quantising leaves them."""
    nodes = [
        helper.make_node('DequantizeLinear', ['bytes', 'step', 'zero'], ['map'], name='dq'),
        helper.make_node('Conv', ['map', 'weights', *(['bias'] if bias is not None else [])],
                         ['raw'], name='predictor'),
        helper.make_node('Transpose', ['raw'], ['out'], name='last', perm=[0, 2, 3, 1])]
    constants = {'step': np.float32(0.02), 'zero': np.uint8(7), 'weights': weights}
    if bias is not None:
        constants['bias'] = bias
    graph = helper.make_graph(
        nodes, 'g', [helper.make_tensor_value_info('bytes', TensorProto.UINT8, MAPS.shape)],
        [helper.make_tensor_value_info('out', TensorProto.FLOAT, [2, 3, 5, len(weights)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def run(model, **settings):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in settings.items():
        setattr(options, key, value)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {'bytes': MAPS})[0]


def on_the_grid(shape):
    """Weights that a file holds exactly: each result has 64 + 64 and a scale of its own."""
    steps = RNG.integers(-64, 65, shape).astype(np.float32)
    steps[:, :2] = 64
    return steps * np.linspace(0.01, 0.05, shape[0], dtype=np.float32)[:, None, None, None]


@pytest.mark.parametrize('with_bias', [True, False])  # the exporter leaves out one of zeros
def test_the_product_is_the_convolution(with_bias):
    weights = on_the_grid((6, 8, 1, 1))
    bias = RNG.normal(size=6).astype(np.float32) if with_bias else None
    model = quantised_graph(weights, bias)
    expected = run(model)
    assert multiply_predictors(model) == 1
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model), expected, rtol=1e-5, atol=1e-4)
    assert np.ptp(expected) > 10


def test_onnx_runtime_makes_one_kernel_of_it(tmp_path):
    model = quantised_graph(on_the_grid((6, 8, 1, 1)), None)
    multiply_predictors(model)
    run(model, optimized_model_filepath=str(tmp_path / 'optimised.onnx'))
    kinds = {node.op_type for node in onnx.load(tmp_path / 'optimised.onnx').graph.node}
    assert 'MatMulIntegerToFloat' in kinds and not kinds & {'Conv', 'MatMul', 'DequantizeLinear'}


def test_nothing_is_left_that_nothing_reads():
    model = quantised_graph(on_the_grid((6, 8, 1, 1)), None)
    multiply_predictors(model)
    read = {name for node in model.graph.node for name in node.input} | {'out'}
    assert {item.name for item in model.graph.initializer} <= read
    assert all(read.intersection(node.output) for node in model.graph.node)


def test_other_convolutions_stay():
    wide = quantised_graph(on_the_grid((6, 8, 3, 3)), None)
    assert multiply_predictors(wide) == 0
    of_floats = quantised_graph(on_the_grid((6, 8, 1, 1)), None)
    of_floats.graph.node[0].op_type = 'Identity'
    before = of_floats.SerializeToString()
    assert multiply_predictors(of_floats) == 0 and of_floats.SerializeToString() == before


def test_each_column_is_rounded_by_its_own_scale():
    # 1.27 is 127 steps of 0.01; 254 + 2 are 128 steps of 2; zeros have none
    steps, scale = quantise_columns(np.array([[1.27, 0, -254], [-0.633, 0, -2]], np.float32))
    assert steps.tolist() == [[127, 0, -127], [-63, 0, -1]]
    np.testing.assert_allclose(scale, [0.01, 1, 2], rtol=1e-6)
