"""The ONNX file: what its graph holds, what it says about itself, and when it is not written."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
import pytest
import torch

from helpers.model_settings import small_run
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.backends.agreement import Difference
from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.deploy.contract import build_contract, build_network
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.export import onnx_file
from mbv2ssd_train.export.onnx_file import export_onnx, ExportError
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.weights.files import read_exported
from mbv2ssd_train.weights.start import load_network, Scores

# 64 x 96 pixels; the files need not be there
CONFIG = small_run('/home/somebody/fruit', model={
    'stride2_padding': 'tensorflow', 'weights': 'runs/wider/best.pt'})


def make_backend(config=CONFIG):
    """A network of random weights, its BatchNorms as if they had seen data."""
    torch.manual_seed(1)
    network = build_network(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.3, 0.3)
    for head in network.conf_heads:
        torch.nn.init.normal_(head[1].weight, std=0.3)  # scores that differ
    for head in (*network.conf_heads, *network.loc_heads):
        head[1].bias.data.uniform_(-0.3, 0.3)
    return TorchBackend(DeployModel(network, config.model), build_contract(config, 0.5))


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The backend, the path of its file, and the parity that was measured."""
    torch.set_num_threads(1)
    backend, path = make_backend(), tmp_path_factory.mktemp('export') / 'deep' / 'model.onnx'
    return backend, path, export_onnx(backend, path)


@pytest.fixture(scope='module')
def graph(exported):
    return onnx.load(exported[1]).graph


def test_the_file_computes_what_pytorch_computes(exported):
    backend, path, parity = exported
    assert 0 <= parity.box_max <= 1e-5 and 0 <= parity.score_max <= 1e-5
    images = np.random.default_rng(9).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    ours = backend.infer(images)
    for found, expected in zip(open_backend('onnxruntime', path, BackendOptions()).infer(images),
                               ours, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(ours[1][..., 1:]) > 0.1  # the comparison is of scores that differ


def test_the_file_tells_nothing_of_the_machine_that_wrote_it(exported):
    content = exported[1].read_bytes()
    assert str(Path(onnx_file.__file__).parents[1]).encode() not in content
    assert b'/home/somebody' not in content


@pytest.mark.parametrize('batch', [1, 2, 3])
def test_any_batch_is_the_images_one_by_one(exported, batch):
    backend = open_backend('onnxruntime', exported[1], BackendOptions())
    images = np.random.default_rng(2).integers(0, 256, (batch, 64, 96, 3), dtype=np.uint8)
    boxes, scores = backend.infer(images)
    assert boxes.shape == (batch, backend.contract.num_priors, 4)
    assert scores.shape == (batch, backend.contract.num_priors, 4)
    for index in range(batch):
        alone = backend.infer(images[index:index + 1])
        np.testing.assert_allclose(boxes[index], alone[0][0], atol=1e-5)
        np.testing.assert_allclose(scores[index], alone[1][0], atol=1e-5)


def test_the_contract_is_inside(exported):
    metadata = {item.key: item.value for item in onnx.load(exported[1]).metadata_props}
    contract = ModelContract.from_json(metadata[METADATA_KEY], 'model.onnx')
    assert dataclasses.replace(
        contract, provenance=exported[0].contract.provenance) == exported[0].contract
    assert contract.input_size_hw == (64, 96) and contract.precision == 'fp32'
    assert contract.class_names == ('background', 'disc', 'square', 'triangle')
    # maps of 8 x 12, 4 x 6, 2 x 3, 1 x 2 and 1 x 1 cells with four shapes each
    assert contract.priors_per_level == (384, 96, 24, 8, 4)
    assert contract.arch_fingerprint == CONFIG.arch_fingerprint()
    assert contract.provenance.config == small_run('fruit', model={
        'stride2_padding': 'tensorflow', 'weights': 'runs/wider/best.pt'}).to_yaml()
    assert (contract.provenance.metric, contract.provenance.metric_value) == ('map_50 on val', 0.5)


def test_a_network_that_begins_with_the_file_computes_the_same(exported):
    network = build_network(CONFIG)
    report = load_network(network, exported[1], Scores(CONFIG.data.classes, sigmoid=False))
    assert 'begin at random' not in report
    images = np.random.default_rng(3).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    begun = TorchBackend(DeployModel(network, CONFIG.model), exported[0].contract)
    for found, expected in zip(begun.infer(images), exported[0].infer(images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_bias_of_zeros_which_the_exporter_leaves_out_is_read_as_one(exported, tmp_path):
    model = onnx.load(exported[1])
    convolution = next(node for node in model.graph.node if node.op_type == 'Conv')
    del convolution.input[2]
    onnx.save(model, tmp_path / 'model.onnx')
    weights, _ = read_exported(tmp_path / 'model.onnx')
    name = convolution.input[1].removeprefix('network.').replace('weight', 'bias')
    assert name == 'backbone.features.0.0.bias'
    assert torch.equal(weights[name], torch.zeros(len(weights['backbone.features.0.0.weight'])))
    load_network(build_network(CONFIG), tmp_path / 'model.onnx',
                 Scores(CONFIG.data.classes, sigmoid=False))


def test_an_unmeasured_model_says_so():
    found = build_contract(CONFIG, None).provenance
    assert (found.metric, found.metric_value, found.measured) == (
        'not measured', None, 'not measured')


def test_tensorrt_8_can_read_it(exported):
    model = onnx.load(exported[1])
    assert [(item.domain, item.version) for item in model.opset_import] == [('', 17)]
    assert model.ir_version == 8
    onnx.checker.check_model(model, full_check=True)


def test_the_graph_has_nothing_that_an_engine_builder_trips_over(graph):
    kinds = {node.op_type for node in graph.node}
    # control flow, data-dependent shapes, NMS and resizing; padding is part of the convolutions
    assert not kinds & {'NonMaxSuppression', 'Resize', 'Shape', 'If', 'Loop', 'NonZero', 'Pad',
                        'TopK', 'BatchNormalization', 'Identity', 'Dropout'}, kinds
    assert all(node.domain in ('', 'ai.onnx') for node in graph.node)
    convolutions = [node for node in graph.node if node.op_type == 'Conv']
    pads = {tuple(a.ints) for node in convolutions for a in node.attribute if a.name == 'pads'}
    assert (0, 0, 1, 1) in pads  # TensorFlow's


def test_bytes_are_cast_before_anything_else(graph):
    image, = graph.input
    assert image.name == 'images' and image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    users = [node.op_type for node in graph.node if 'images' in node.input]
    assert users == ['Cast']


def test_only_the_batch_is_dynamic(graph):
    for value in (*graph.input, *graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param and not first.dim_value, value.name
        assert all(dim.dim_value > 0 for dim in others), value.name
    assert [(output.name, output.type.tensor_type.elem_type) for output in graph.output] == [
        ('boxes', onnx.TensorProto.FLOAT), ('scores', onnx.TensorProto.FLOAT)]


@pytest.fixture
def scale_in_tracing(exported, monkeypatch):
    """Give a function that makes PyTorch's exporter scale the weights of one layer."""
    def scale(name, factor):
        model = onnx.load(exported[1])  # not traced again: that takes seconds
        del model.metadata_props[:]
        weight, = (item for item in model.graph.initializer if item.name.endswith(name))
        values = onnx.numpy_helper.to_array(weight) * np.float32(factor)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        monkeypatch.setattr(onnx_file, '_trace', lambda *_: model)
    return scale


def test_a_file_that_computes_the_same_is_written(exported, tmp_path, scale_in_tracing):
    scale_in_tracing('conf_heads.0.1.weight', 1.0)
    assert export_onnx(exported[0], tmp_path / 'model.onnx').within(onnx_file._LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


@pytest.mark.parametrize('name', ['conf_heads.0.1.weight', 'loc_heads.0.1.weight'])
def test_a_file_that_computes_something_else_is_not_written(
        exported, tmp_path, scale_in_tracing, name):
    scale_in_tracing(name, 1.1)
    with pytest.raises(ExportError, match=r'differs from PyTorch by .*; nothing was written'):
        export_onnx(exported[0], tmp_path / 'model.onnx')
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_stays_when_the_new_one_is_refused(exported, tmp_path, scale_in_tracing):
    (tmp_path / 'model.onnx').write_text('the earlier one')
    scale_in_tracing('conf_heads.0.1.weight', 1.01)
    with pytest.raises(ExportError, match='differs from PyTorch'):
        export_onnx(exported[0], tmp_path / 'model.onnx')
    assert (tmp_path / 'model.onnx').read_text() == 'the earlier one'


@pytest.mark.parametrize('boxes, scores, fine', [
    (1e-4, 1e-4, True), (1.1e-4, 0, False), (0, 1.1e-4, False), (float('nan'), 0, False),
    (0, float('nan'), False)])
def test_parity_allows_a_ten_thousandth_and_no_nan(boxes, scores, fine):
    assert Difference(boxes, 0, scores, 0).within(onnx_file._LIMIT) == fine


def test_an_operator_that_changed_between_opsets_is_refused():
    node = onnx.helper.make_node('Pad', ['x'], ['y'], name='pad it')
    model = onnx.helper.make_model(onnx.helper.make_graph([node], 'g', [], []))
    with pytest.raises(ExportError, match="Pad of node 'pad it' changed between opset 17 and 18"):
        onnx_file._lower_opset(model)


@pytest.mark.parametrize('new', [{'antialias': 1}, {'axes': [2, 3]}])
def test_a_resize_that_the_older_opset_has_not_is_refused(new):
    node = onnx.helper.make_node('Resize', ['x', '', 's'], ['y'], mode='linear', **new)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], 'g', [], []))
    with pytest.raises(ExportError, match='Resize of node .* changed between opset 17 and 18'):
        onnx_file._lower_opset(model)


def mean_over(axes):
    """A model that takes the mean of (1, 2, 3, 4) over some axes."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    shape = [1 if axis in axes else side for axis, side in enumerate((1, 2, 3, 4))]
    return helper.make_model(helper.make_graph(
        [helper.make_node('ReduceMean', ['x', 'axes'], ['y'], name='mean', keepdims=1)], 'g',
        [helper.make_tensor_value_info('x', float32, [1, 2, 3, 4])],
        [helper.make_tensor_value_info('y', float32, shape)],
        [onnx.numpy_helper.from_array(np.array(axes, np.int64), 'axes')]))


def test_the_mean_of_a_map_is_said_in_the_older_opset():
    model = mean_over([2, 3])
    onnx_file._lower_opset(model)
    onnx.checker.check_model(model, full_check=True)
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    found, = ReferenceEvaluator(model).run(None, {'x': x})
    np.testing.assert_allclose(found.flatten(), [5.5, 17.5])  # of 0 to 11 and 12 to 23
    assert not model.graph.initializer


def test_another_mean_is_refused():
    with pytest.raises(ExportError, match="ReduceMean of node 'mean' changed between opset 17"):
        onnx_file._lower_opset(mean_over([1]))


def test_a_file_that_no_verb_would_open_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match=r'model\.bin: the name of a model file ends in \.onnx'):
        export_onnx(make_backend(), tmp_path / 'model.bin')


def test_letterbox_reaches_the_run_time():
    contract = build_contract(small_run('d', model={'resize_mode': 'letterbox'}), None)
    assert json.loads(contract.to_json())['resize_mode'] == 'letterbox'
    assert dataclasses.replace(contract, resize_mode='stretch') != contract
