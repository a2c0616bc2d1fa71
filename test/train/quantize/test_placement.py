"""Which layers become integers, in graphs that hold one of every kind of layer."""

import dataclasses

import numpy as np
import onnx
import pytest

from helpers.small_graph import everything
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_train.onnx_files.graph import GraphIndex
from mbv2ssd_train.quantize.lint import check_qdq
from mbv2ssd_train.quantize.placement import find_placement
from mbv2ssd_train.quantize.ptq import quantize_onnx, TARGETS


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
        'skips': ('sum',), 'activations': ('relu6', 'relu2'), 'pools': ('pool',),
        'resizes': ()}
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
