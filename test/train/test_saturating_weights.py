"""Which weights of an INT8 file make a kernel saturate that adds two products in 16 bits."""

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser, TensorProto
import pytest

from mbv2ssd_train.quantize.saturation import check_saturation

# a filter of two maps and two taps, a depthwise one, a 1x1 convolution and a product; every node
# is named after what it gives
GOOD = '''
<ir_version: 8, opset_import: ["" : 17]>
layers (uint8[1, 2, 4, 6] x) => (float[1, 4, 6, 3] scores)
<float s = {0.1}, uint8 z = {128}, float[2] s2 = {0.1, 0.2}, int8[2] z2 = {0, 0},
 float[3] s3 = {0.1, 0.2, 0.3}, int8[3] z3 = {0, 0, 0},
 int8[2, 2, 1, 2] w = {64, -9, 5, 64, 127, -127, 1, 1},
 int8[2, 1, 1, 3] wd = {-127, 5, -127, 1, 100, 28},
 int8[2, 2, 1, 1] wp = {100, 28, -127, 127},
 int8[2, 3] wm = {90, 1, -127, 38, 1, 127}>
{
    [x_dq] x_dq = DequantizeLinear(x, s, z)
    [w_dq] w_dq = DequantizeLinear<axis = 0>(w, s2, z2)
    [full] full = Conv<pads = [0, 0, 0, 1]>(x_dq, w_dq)
    [full_q] full_q = QuantizeLinear(full, s, z)
    [full_dq] full_dq = DequantizeLinear(full_q, s, z)
    [wd_dq] wd_dq = DequantizeLinear<axis = 0>(wd, s2, z2)
    [depthwise] depthwise = Conv<group = 2, pads = [0, 1, 0, 1]>(full_dq, wd_dq)
    [depthwise_q] depthwise_q = QuantizeLinear(depthwise, s, z)
    [depthwise_dq] depthwise_dq = DequantizeLinear(depthwise_q, s, z)
    [wp_dq] wp_dq = DequantizeLinear<axis = 0>(wp, s2, z2)
    [project] project = Conv(depthwise_dq, wp_dq)
    [project_q] project_q = QuantizeLinear(project, s, z)
    [cells_q] cells_q = Transpose<perm = [0, 2, 3, 1]>(project_q)
    [cells] cells = DequantizeLinear(cells_q, s, z)
    [wm_dq] wm_dq = DequantizeLinear<axis = 1>(wm, s3, z3)
    [scores] scores = MatMul(cells, wm_dq)
}
'''


def check(*changes):
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    model = parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    return check_saturation(model)


def test_pairs_of_128_and_of_opposite_sign_and_taps_that_do_not_meet_are_fine():
    assert check() == []


@pytest.mark.parametrize('old, new, said', [
    # any two of a filter with several maps and taps
    ('{64, -9, 5, 64,', '{65, -9, 5, 64,',
     'saturation: full has the weights 65 at (0, 0, 0) and 64 at (1, 0, 1) of its output channel '
     '0; 255 * (65 + 64) = 32895 leaves -32768 to 32767, which x86-64 without VNNI adds two '
     'products in; 1 of 2 channels have such a pair. Quantise the float32 file again'),
    # neighbours where there is one order
    ('{-127, 5, -127, 1, 100, 28}', '{-127, -5, -127, 1, 100, 29}',
     'saturation: depthwise has the weights -127 at (0, 0, 0) and -5 at (0, 0, 1) of its output '
     'channel 0; 255 * (-127 - 5) = -33660 leaves -32768 to 32767, which x86-64 without VNNI adds '
     'two products in; 2 of 2 channels have such a pair. Quantise the float32 file again'),
    ('{100, 28, -127, 127}', '{100, 28, -127, -2}',
     'saturation: project has the weights -127 at (0, 0, 0) and -2 at (1, 0, 0) of its output '
     'channel 1; 255 * (-127 - 2) = -32895 leaves -32768 to 32767, which x86-64 without VNNI adds '
     'two products in; 1 of 2 channels have such a pair. Quantise the float32 file again'),
    # columns are the output channels of a product
    ('{90, 1, -127, 38, 1, 127}', '{90, 127, -127, 38, 2, 127}',
     'saturation: scores has the weights 127 at (0,) and 2 at (1,) of its output channel 1; '
     '255 * (127 + 2) = 32895 leaves -32768 to 32767, which x86-64 without VNNI adds two products '
     'in; 1 of 3 channels have such a pair. Quantise the float32 file again')])
def test_a_pair_is_named_with_layer_channel_values_and_places(old, new, said):
    assert [str(found) for found in check((old, new))] == [said]


def test_every_layer_is_named():
    found = check(('{64, -9, 5, 64,', '{65, -9, 5, 64,'), ('{90, 1,', '{91, 1,'))
    assert [violation.node for violation in found] == ['full', 'scores']


def test_the_most_negative_weight_alone_is_fine():
    assert check(('{64, -9, 5, 64,', '{-128, 0, 0, 0,')) == []  # 255 * -128 = -32640


def test_unsigned_weights_and_float_maps_have_other_kernels():
    assert check(('int8[2, 2, 1, 1] wp = {100, 28, -127, 127}',
                  'uint8[2, 2, 1, 1] wp = {255, 255, 255, 255}'),
                 ('DequantizeLinear<axis = 0>(wp, s2, z2)', 'DequantizeLinear(wp, s, z)')) == []
    assert check(('{100, 28, -127, 127}', '{127, 127, 127, 127}'),
                 ('[project] project = Conv(depthwise_dq', '[floats] floats = Relu(depthwise_dq)\n'
                  '    [project] project = Conv(floats')) == []


def product_of_one_column(steps, kind, **attributes):
    """A map times one column of weights, as MatMul, or as Gemm with either layout."""
    weights = np.array(steps, np.int8)[:, None]
    if attributes.get('transB'):
        weights = weights.T
    values = {'s': np.float32(0.1), 'z': np.uint8(3), 'w': weights, 'w_z': np.int8(0)}
    nodes = [helper.make_node('DequantizeLinear', ['x', 's', 'z'], ['x_dq'], name='x_dq'),
             helper.make_node('DequantizeLinear', ['w', 's', 'w_z'], ['w_dq'], name='w_dq'),
             helper.make_node(kind, ['x_dq', 'w_dq'], ['y'], name='y', **attributes)]
    return helper.make_model(helper.make_graph(
        nodes, 'g', [helper.make_tensor_value_info('x', TensorProto.UINT8, [1, len(steps)])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(value, name) for name, value in values.items()]))


@pytest.mark.parametrize('kind, attributes', [('MatMul', {}), ('Gemm', {}),
                                              ('Gemm', {'transB': 1})])
@pytest.mark.parametrize('seed', range(20))
def test_what_passes_does_not_overflow(kind, attributes, seed):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-100, 101, 4).tolist()
    # pmaddubsw: each product of two bytes fits, the sum of neighbours is what saturates
    overflows = any(not -32768 <= a * w + b * v <= 32767
                    for w, v in zip(steps, steps[1:], strict=False)
                    for a in (0, 255) for b in (0, 255))
    found = check_saturation(product_of_one_column(steps, kind, **attributes))
    assert bool(found) == overflows
