"""Whether integers saturate here, asked by trying: against a convolution, and by ONNX's writer."""

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime
import pytest

from mbv2ssd_ros.backends import saturation

SATURATED = 32767  # of two products at a time


def probe_model():
    """Write the probe with onnx: the product of a, (4, 8), and 127 everywhere, (8, 16)."""
    graph = helper.make_graph(
        [helper.make_node('MatMulInteger', ['a', 'b'], ['y'])], 'probe',
        [helper.make_tensor_value_info('a', TensorProto.UINT8, [4, 8])],
        [helper.make_tensor_value_info('y', TensorProto.INT32, [4, 16])],
        [numpy_helper.from_array(np.full((8, 16), 127, np.int8), 'b')])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=7)


def convolution():
    """A quantised convolution of 8 channels of 255 with weights of 127; steps of 4096 come out."""
    constants = {'one': np.float32(1), 'zero': np.uint8(0), 'weights': np.full(
        (16, 8, 1, 1), 127, np.int8), 'none': np.int8(0), 'step': np.float32(4096)}
    nodes = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in (
        ('QuantizeLinear', ['x', 'one', 'zero'], 'bytes'),
        ('DequantizeLinear', ['bytes', 'one', 'zero'], 'map'),
        ('DequantizeLinear', ['weights', 'one', 'none'], 'filter'),
        ('Conv', ['map', 'filter'], 'sums'),
        ('QuantizeLinear', ['sums', 'step', 'zero'], 'steps'),
        ('DequantizeLinear', ['steps', 'step', 'zero'], 'y'))]
    graph = helper.make_graph(
        nodes, '', [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 8, 6, 6])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 16, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=7)


def convolved():
    """Run the convolution."""
    session = onnxruntime.InferenceSession(
        convolution().SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(['y'], {'x': np.full((1, 8, 6, 6), 255, np.float32)})[0]


def test_the_probe_is_what_onnx_writes_and_valid():
    onnx.checker.check_model(probe_model(), full_check=True)
    assert onnx.load_from_string(saturation.PROBE_MODEL) == probe_model()
    assert saturation.EXACT == 8 * 255 * 127


def test_the_answer_is_that_of_a_quantised_convolution():
    steps = convolved() / 4096
    assert set(np.unique(steps)) in ({63.0}, {32.0})  # 8 * 255 * 127, 4 * 32767
    assert saturation.kernels_saturate() == (steps.max() == 32)


def test_it_is_asked_once_in_a_process(monkeypatch):
    saturation.kernels_saturate()
    monkeypatch.setattr(onnxruntime, 'InferenceSession', None)
    saturation.kernels_saturate()


@pytest.mark.parametrize(('product', 'expected'), [
    (8 * 255 * 127, False), (4 * SATURATED, True)])
def test_a_single_wrong_element_is_saturation(monkeypatch, product, expected):
    class Session:
        def __init__(self, *arguments, **settings):
            pass

        def run(self, outputs, inputs):
            found = np.full((4, 16), saturation.EXACT)
            found[3, 15] = product
            return [found]

    saturation.kernels_saturate.cache_clear()
    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)
    try:
        assert saturation.kernels_saturate() is expected
    finally:
        saturation.kernels_saturate.cache_clear()
