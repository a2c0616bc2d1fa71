"""What TensorRT does not take in a Q/DQ graph: a good graph, and one broken for each rule."""

import onnx
from onnx import parser
import pytest

from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_train.quantize.lint import check_graph, check_qdq, has_qdq

# an inverted residual with its skip, and a predictor; every node is named after what it gives
GOOD = '''
<ir_version: 8, opset_import: ["" : 17]>
block (uint8[B, 4, 6, 2] images) => (float[B, 24, 2] scores)
<float s = {0.1}, int8 z = {0}, int8[2] z2 = {0, 0}, float[2] s2 = {0.1, 0.2},
 int8[2, 2, 1, 1] w = {1, 2, 3, 4},
 int8[2, 1, 1, 1] wd = {5, 6}, float[2] b = {0, 0}, float low = {0}, float high = {6},
 uint8 z_uint8 = {0}, int8 z_one = {1}, int32[2] b_int = {1, 2}, float s_zero = {0},
 float[2, 2, 1, 1] w_float = {1, 2, 3, 4}, int64[3] shape = {0, -1, 2}>
{
    [image] image = Cast<to = 1>(images)
    [planes] planes = Transpose<perm = [0, 3, 1, 2]>(image)
    [image_q] image_q = QuantizeLinear(planes, s, z)
    [image_dq] image_dq = DequantizeLinear(image_q, s, z)
    [w_dq] w_dq = DequantizeLinear<axis = 0>(w, s2, z2)
    [wd_dq] wd_dq = DequantizeLinear<axis = 0>(wd, s2, z2)
    [expand] expand = Conv(image_dq, w_dq, b)
    [relu6] relu6 = Clip(expand, low, high)
    [relu6_q] relu6_q = QuantizeLinear(relu6, s, z)
    [relu6_dq] relu6_dq = DequantizeLinear(relu6_q, s, z)
    [depthwise] depthwise = Conv<group = 2>(relu6_dq, wd_dq, b)
    [sum] sum = Add(depthwise, image_dq)
    [sum_q] sum_q = QuantizeLinear(sum, s, z)
    [sum_dq] sum_dq = DequantizeLinear(sum_q, s, z)
    [predictor] predictor = Conv(sum_dq, w_dq, b)
    [cells] cells = Transpose<perm = [0, 2, 3, 1]>(predictor)
    [priors] priors = Reshape(cells, shape)
    [scores] scores = Softmax<axis = -1>(priors)
}
'''


_SCALES = ('int64[3] shape = {0, -1, 2}>', 'int64[3] shape = {0, -1, 2}, '
            'float[4] scales = {1, 1, 1, 1}>')


def rules_of(text):
    """Node and rule of every violation of a graph."""
    model = parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)  # a broken graph is still ONNX
    return [(found.node, found.rule) for found in check_graph(model)]


def broken(*changes):
    """The good graph with lines replaced."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_a_good_graph_has_no_violation():
    assert rules_of(GOOD) == []


@pytest.mark.parametrize('node, rule, changes', [
    ('sum_dq', 'zero-point', [('DequantizeLinear(sum_q, s, z)',
                               'DequantizeLinear(sum_q, s, z_one)')]),
    ('image_dq', 'zero-point', [
        ('[image_dq]', '[zero] zero = Cast<to = 3>(s_zero)\n[image_dq]'),
        ('DequantizeLinear(image_q, s, z)', 'DequantizeLinear(image_q, s, zero)')]),
    ('sum_q', 'activation-type', [
        ('QuantizeLinear(sum, s, z)', 'QuantizeLinear(sum, s, z_uint8)'),
        ('DequantizeLinear(sum_q, s, z)', 'DequantizeLinear(sum_q, s, z_uint8)')]),
    # without a zero point the type is uint8
    ('sum_q', 'activation-type', [
        ('QuantizeLinear(sum, s, z)', 'QuantizeLinear(sum, s)'),
        ('DequantizeLinear(sum_q, s, z)', 'DequantizeLinear(sum_q, s)')]),
    ('w_dq', 'weight-type', [('int8[2, 2, 1, 1] w =', 'uint8[2, 2, 1, 1] w ='),
                             ('(w, s2, z2)', '(w, s2)')]),
    ('sum_q', 'scale', [('QuantizeLinear(sum, s, z)', 'QuantizeLinear(sum, s_zero, z)')]),
    ('sum_q', 'scale', [('[sum_q]', '[s_made] s_made = Exp(s)\n[sum_q]'),
                        ('QuantizeLinear(sum, s, z)', 'QuantizeLinear(sum, s_made, z)')]),
    ('expand', 'integer-bias', [
        ('[expand]', '[b_dq] b_dq = DequantizeLinear(b_int, s)\n[expand]'),
        ('Conv(image_dq, w_dq, b)', 'Conv(image_dq, w_dq, b_dq)')]),
    ('between_q', 'before-activation', [
        ('[relu6] relu6 = Clip(expand',
         '[between_q] between_q = QuantizeLinear(expand, s, z)\n'
         '[between] between = DequantizeLinear(between_q, s, z)\n[relu6] relu6 = Clip(between')]),
    ('sum', 'addition', [
        ('[sum] sum = Add(depthwise', '[d_q] d_q = QuantizeLinear(depthwise, s, z)\n'
         '[d_dq] d_dq = DequantizeLinear(d_q, s, z)\n[sum] sum = Add(d_dq')]),
    ('expand', 'half-quantised', [('Conv(image_dq, w_dq, b)', 'Conv(image_dq, w_float, b)')]),
    ('expand', 'half-quantised', [('Conv(image_dq, w_dq, b)', 'Conv(planes, w_dq, b)')]),
    ('depthwise', 'channel-scales', [('DequantizeLinear<axis = 0>(wd, s2, z2)',
                                      'DequantizeLinear(wd, s, z)')]),
    ('predictor', 'channel-scales', [
        ('[predictor]', '[w_in] w_in = DequantizeLinear<axis = 1>(w, s2, z2)\n[predictor]'),
        ('Conv(sum_dq, w_dq, b)', 'Conv(sum_dq, w_in, b)')]),
    ('relu6', 'clip-bounds', [('[relu6]', '[top] top = Exp(low)\n[relu6]'),
                              ('Clip(expand, low, high)', 'Clip(expand, low, top)')]),
    ('twice', 'resize', [  # linear instead of nearest, and scales that are computed
        ('[cells]', '[twice] twice = Resize<mode = "linear">(predictor, , scales)\n[cells]'),
        ('(predictor)', '(twice)'), _SCALES]),
    ('twice', 'resize', [
        ('[cells]', '[made] made = Exp(scales)\n'
         '[twice] twice = Resize(predictor, , made)\n[cells]'),
        ('(predictor)', '(twice)'), _SCALES]),
    ('scores', 'operator', [('Softmax<axis = -1>', 'Hardmax<axis = -1>')]),
    ('', 'opset', [('"" : 17', '"" : 18')])])
def test_a_violation_is_named_by_its_node(node, rule, changes):
    assert rules_of(broken(*changes)) == [(node, rule)]


def test_what_a_predictor_says_stays_in_float():
    found = rules_of(broken(
        ('[cells] cells = Transpose<perm = [0, 2, 3, 1]>(predictor)',
         '[p_q] p_q = QuantizeLinear(predictor, s, z)\n[p_dq] p_dq = DequantizeLinear(p_q, s, z)\n'
         '[cells] cells = Transpose<perm = [0, 2, 3, 1]>(p_dq)')))
    assert found == [('p_q', 'behind-predictor'), ('p_dq', 'behind-predictor')]


def test_bytes_go_through_a_cast_first():
    found = rules_of(broken(
        ('[image] image = Cast<to = 1>(images)',
         '[image] image = Transpose<perm = [0, 3, 1, 2]>(images)'),
        ('[planes] planes = Transpose<perm = [0, 3, 1, 2]>(image)',
         '[planes] planes = Cast<to = 1>(image)')))
    assert found == [('image', 'uint8-input')]


def test_operators_of_onnx_runtime_alone_are_refused():
    model = parser.parse_model(GOOD)
    node, = (node for node in model.graph.node if node.name == 'relu6')
    node.domain = 'com.microsoft'
    found, = check_graph(model)
    assert str(found) == 'operator: relu6 is com.microsoft.Clip, which only ONNX Runtime knows'


def test_float_weights_quantised_in_the_graph_are_fine_too():
    # as TensorRT 8 likes it
    assert rules_of(broken(
        ('[w_dq]', '[w_q] w_q = QuantizeLinear<axis = 0>(w_float, s2, z2)\n[w_dq]'),
        ('DequantizeLinear<axis = 0>(w, s2, z2)', 'DequantizeLinear<axis = 0>(w_q, s2, z2)'),
    )) == []


def test_a_file_is_read(tmp_path):
    path = tmp_path / 'model.onnx'
    onnx.save(parser.parse_model(broken(('"" : 17', '"" : 19'))), path)
    assert [str(found) for found in check_qdq(path)] == [
        'opset: the file is of opset 19, expected 13 to 17, the newest that TensorRT 8.6 reads']
    assert has_qdq(path)


def test_what_is_no_onnx_file_is_refused(tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'not protobuf')
    with pytest.raises(ContractError, match=r'model\.onnx: cannot be read as ONNX'):
        check_qdq(path)
