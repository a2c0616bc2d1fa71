"""Which layers become integers, in graphs that hold one of every kind of layer."""

import dataclasses

import numpy as np
import onnx
from onnx import parser
import pytest

from mbv2ssd_ros.backends.base import BackendOptions, open_backend
from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract, Provenance
from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_train.export.graph import GraphIndex
from mbv2ssd_train.quantize.lint import check_qdq
from mbv2ssd_train.quantize.placement import find_placement
from mbv2ssd_train.quantize.ptq import quantize_onnx, TARGETS

# stem with hard swish; squeeze-and-excitation; a skip; pooling; L2 norm; one level of priors
EVERYTHING = '''
<ir_version: 8, opset_import: ["" : 17]>
net (uint8[batch, 4, 6, 3] images) => (float[batch, 6, 4] boxes, float[batch, 6, 3] scores)
<float[3, 1, 1] scale = {0.0078, 0.0078, 0.0078}, float[3, 1, 1] offset = {-1, -1, -1},
 int64[3] to_boxes = {-1, 6, 4}, int64[3] to_scores = {-1, 6, 3},
 float zero = {0}, float six = {6}, float one = {1}, int64[1] channels = {1}, float tiny = {0.0000000001},
 float[4, 1, 1] length = {1, 1, 1, 1}>
{
    [cast] cast = Cast<to = 1>(images)
    [planes] planes = Transpose<perm = [0, 3, 1, 2]>(cast)
    [scaled] scaled = Mul(planes, scale)
    [normal] normal = Add(scaled, offset)
    [stem] stem = Conv(normal, w_stem)
    [hard] hard = HardSigmoid<alpha = 0.1667, beta = 0.5>(stem)
    [swish] swish = Mul(stem, hard)
    [expand] expand = Conv(swish, w_expand)
    [relu6] relu6 = Clip(expand, zero, six)
    [mean] mean = GlobalAveragePool(relu6)
    [fc1] fc1 = Conv(mean, w_fc1)
    [relu] relu = Relu(fc1)
    [fc2] fc2 = Conv(relu, w_fc2)
    [gate] gate = HardSigmoid<alpha = 0.1667, beta = 0.5>(fc2)
    [weighed] weighed = Mul(relu6, gate)
    [project] project = Conv(weighed, w_project)
    [sum] sum = Add(swish, project)
    [last] last = Conv(sum, w_last)
    [relu2] relu2 = Relu(last)
    [pool] pool = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(relu2)
    [squares] squares = Mul(pool, pool)
    [total] total = ReduceSum<keepdims = 1>(squares, channels)
    [safe] safe = Add(total, tiny)
    [root] root = Sqrt(safe)
    [inverse] inverse = Reciprocal(root)
    [unit] unit = Mul(pool, inverse)
    [long] long = Mul(unit, length)
    [loc] loc = Conv(long, w_loc)
    [loc_cells] loc_cells = Transpose<perm = [0, 2, 3, 1]>(loc)
    [boxes_raw] boxes_raw = Reshape(loc_cells, to_boxes)
    [boxes] boxes = Clip(boxes_raw, zero, one)
    [conf] conf = Conv(long, w_conf)
    [conf_cells] conf_cells = Transpose<perm = [0, 2, 3, 1]>(conf)
    [logits] logits = Reshape(conf_cells, to_scores)
    [scores] scores = Softmax<axis = -1>(logits)
}
'''
CHANNELS = {'stem': (4, 3), 'expand': (4, 4), 'fc1': (2, 4), 'fc2': (4, 2), 'project': (4, 4),
            'last': (4, 4), 'loc': (4, 4), 'conf': (3, 4)}
CONTRACT = ModelContract(
    1, (4, 6), 'rgb', 'stretch', ('background', 'bolt', 'nut'), 0, (6,), 'everything', 'fp32',
    Provenance('0', '', (), 'not measured', 0.0))


def everything():
    """The model with random weights and a contract."""
    rng, model = np.random.default_rng(0), parser.parse_model(EVERYTHING)
    for name, shape in CHANNELS.items():
        values = rng.normal(0, 0.5, (*shape, 1, 1)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, f'w_{name}'))
    onnx.helper.set_model_props(model, {METADATA_KEY: CONTRACT.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


class Noise:
    """Images for calibration."""

    def __init__(self):
        self.images = iter(np.random.default_rng(1).integers(0, 256, (8, 1, 4, 6, 3), np.uint8))

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {'images': image}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'everything.onnx'
    onnx.save(everything(), path)
    return path


def test_every_layer_has_its_place():
    found = dataclasses.asdict(find_placement(everything(), 'everything.onnx'))
    outside = found.pop('outside')
    assert found == {
        'body': ('stem', 'expand', 'project', 'last'), 'predictors': ('conf', 'loc'),
        'skips': ('sum',), 'activations': ('relu6', 'relu2'), 'pools': ('pool',)}
    assert {'fc1', 'fc2', 'relu', 'gate', 'hard', 'swish', 'safe', 'normal', 'boxes'} <= {*outside}


def test_the_body_lies_between_the_first_convolution_and_the_predictors():
    body = [node.name for node in GraphIndex(everything().graph).body('everything.onnx')]
    assert body[0] == 'stem' and body[-2:] == ['loc', 'conf'] and len(body) == 25
    assert not {'normal', 'cast', 'loc_cells', 'scores'} & {*body}


@pytest.mark.parametrize('target', TARGETS)
def test_every_layer_can_be_quantised(source, target):
    output = source.with_name('int8.onnx')
    quantize_onnx(source, output, Noise(), target, 'minmax', '')
    image = np.random.default_rng(2).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    found, wanted = (open_backend('onnxruntime', path, BackendOptions()).infer(image)
                     for path in (output, source))
    assert np.ptp(wanted[1]) > 0.3  # a comparison of values that differ
    for one, other in zip(found, wanted):
        assert 0 < np.abs(one - other).max() < 0.05


def test_the_tensorrt_file_of_every_layer_has_no_violation(source):
    output = source.with_name('int8.onnx')
    quantize_onnx(source, output, Noise(), 'tensorrt', 'minmax', '')
    assert check_qdq(output) == []
    index = GraphIndex(onnx.load(output).graph)
    quantised = {node.name for node in index.of_type('Conv')
                 if index.writer(node.input[1]) is not None}
    assert quantised == {'stem', 'expand', 'project', 'last', 'conf', 'loc'}
    add, = (node for node in index.nodes if node.name == 'sum')
    assert sorted(node.op_type for node in index.inputs(add)) == ['Conv', 'DequantizeLinear']


def test_the_cpu_file_is_told_from_one_for_tensorrt(source):
    output = source.with_name('int8.onnx')
    quantize_onnx(source, output, Noise(), 'cpu', 'minmax', '')
    assert 'activation-type' in {found.rule for found in check_qdq(output)}


def renamed(model, old, **changes):
    node, = (node for node in model.graph.node if node.name == old)
    for name, value in changes.items():
        setattr(node, name, value)
    return model


def test_predictors_in_another_layout_are_refused():
    model = renamed(everything(), 'conf_cells', op_type='Identity')
    with pytest.raises(ContractError, match='other.onnx: not a graph.*of its 8 convolutions 2 are '
                       'the last ones and 1 of those give predictions'):
        find_placement(model, 'other.onnx')


def test_nodes_without_names_are_refused():
    with pytest.raises(ContractError, match='other.onnx: not a graph.*every node needs a name'):
        find_placement(renamed(everything(), 'hard', name=''), 'other.onnx')
