"""INT8 after training: which images, which layers, what the two targets demand."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import numpy_helper
import onnxruntime
import pytest
import torch

from helpers.small_graph import CONTRACT, everything
from helpers.synthetic import write_world
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.contract import SATURATION_FREE_KEY
from mbv2ssd_ros.core.errors import ConfigError, ContractError
from mbv2ssd_ros.core.processor import describe_processor
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import parse_config
from mbv2ssd_train.data.dataset import Dataset, EncodedImages, ImageRecord
from mbv2ssd_train.deploy.contract import build_contract, build_network
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.export.onnx_file import export_onnx
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.model.weight_grid import channel_scales, count_steps
from mbv2ssd_train.onnx_files.model_file import set_contract
from mbv2ssd_train.quantize import ptq
from mbv2ssd_train.quantize.calibration import (
    CalibrationImages,
    choose_images,
    list_hash,
    unseen_classes,
)
from mbv2ssd_train.quantize.placement import find_placement
from mbv2ssd_train.quantize.ptq import quantize_onnx, TARGETS
from mbv2ssd_train.quantize.saturation import check_saturation

CONFIG = '''
name: tiny
data: {root: nowhere, train: [a], val: b, classes: [bolt, nut]}
model: {input_size_hw: [64, 96], width_mult: 0.35, stride2_padding: tensorflow,
        extra_channels: [64, 32, 32]}
'''


def record(name, *labels):
    return ImageRecord(name, name, name, (20, 30), np.zeros((len(labels), 4), np.float32),
                       np.array(labels, np.intp), np.zeros(len(labels), bool))


def noise_of(item):
    """Encode an image of 20 x 30 pixels that depends on the record's name."""
    import cv2
    rng = np.random.default_rng(sum(item.image_id.encode()))
    smooth = cv2.resize(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (30, 20))
    return bytes(cv2.imencode('.png', smooth)[1])


@pytest.fixture(scope='module')
def dataset():
    records = [record(f'common{k}', 1) for k in range(30)] + [record('rare0', 2),
                                                              record('rare1', 2), record('none')]
    return Dataset('train', ('bolt', 'nut'), records, EncodedImages(noise_of))


@pytest.fixture(scope='module')
def float_file(tmp_path_factory):
    torch.manual_seed(0)
    config = parse_config(CONFIG, 'test')
    network = build_network(config)
    path = tmp_path_factory.mktemp('model') / 'tiny.onnx'
    export_onnx(TorchBackend(DeployModel(network, config.model),
                             build_contract(config, 0.5)), path)
    return path


@pytest.fixture(scope='module')
def quantised(float_file, dataset):
    """Return the path of the INT8 file for a target; each is made once."""
    files = {}

    def make(target):
        if target not in files:
            contract = open_backend('onnxruntime', float_file, BackendOptions()).contract
            files[target] = float_file.with_name(f'{target}.onnx')
            quantize_onnx(float_file, files[target],
                          CalibrationImages(dataset, list(range(12)), contract), target,
                          'minmax', f'for {target}')
        return files[target]
    return make


class Graph:
    """An ONNX graph to ask questions."""

    def __init__(self, path: Path):
        self.graph = onnx.load(path).graph
        self.values = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}

    def of_type(self, *kinds):
        return [node for node in self.graph.node if node.op_type in kinds]

    def readers(self, tensor):
        return [node.op_type for node in self.graph.node if tensor in node.input]

    def writer(self, tensor):
        return next((n.op_type for n in self.graph.node if tensor in n.output), None)


def test_rare_classes_and_empty_images_are_among_the_chosen(dataset):
    names = {dataset.records[k].image_id for k in choose_images(dataset, 5, seed=0)}
    assert {'rare0', 'rare1', 'none'} <= names and len(names) == 5


def test_the_choice_depends_on_the_seed_alone(dataset):
    assert choose_images(dataset, 9, seed=1) == choose_images(dataset, 9, seed=1)
    assert choose_images(dataset, 9, seed=1) != choose_images(dataset, 9, seed=2)


def test_more_than_there_are_is_all_of_them(dataset):
    assert choose_images(dataset, 1000, seed=0) == list(range(33))


def test_no_images_are_refused(dataset):
    with pytest.raises(ConfigError, match='0 calibration images'):
        choose_images(dataset, 0, seed=0)


def test_classes_that_no_chosen_image_shows_are_named(dataset):
    assert unseen_classes(dataset, [0, 1]) == ['nut']
    assert unseen_classes(dataset, [0, 30]) == []
    assert unseen_classes(dataset, [32]) == ['bolt', 'nut']


def test_the_hash_of_a_list_does_not_depend_on_its_order(dataset):
    assert list_hash(dataset, [1, 2]) == list_hash(dataset, [2, 1]) != list_hash(dataset, [1, 3])


def test_placement_knows_the_layers_of_mobilenet_and_ssdlite(float_file):
    placement = find_placement(onnx.load(float_file), 'tiny.onnx')
    # two heads on six levels; ten inverted residuals with a skip (2, 3, 4, 3, 3 less one each,
    # of the stages with repeats)
    assert (len(placement.predictors), len(placement.skips)) == (12, 10)
    # 17 blocks (one without expansion) and stem and last layer, 3 extras of 3, 12 depthwise heads
    assert len(placement.body) == 1 + 17 * 3 - 1 + 1 + 9 + 12
    assert len(placement.activations) == len(placement.body) - 17  # projections are linear


def test_another_graph_is_refused(tmp_path):
    from helpers.tiny_model import write_tiny_model
    model = onnx.load(write_tiny_model(tmp_path / 'other.onnx'))
    conv = onnx.helper.make_node('Conv', ['a', 'b'], ['c'], name='conv')
    model.graph.node.append(conv)
    with pytest.raises(ContractError, match=r'other\.onnx: not a graph'):
        find_placement(model, 'other.onnx')


@pytest.mark.parametrize('target', TARGETS)
def test_the_int8_file_answers_nearly_as_the_float_file(quantised, float_file, dataset, target):
    contract = open_backend('onnxruntime', float_file, BackendOptions()).contract
    images = CalibrationImages(dataset, [5, 20, 31], contract)
    batch = np.concatenate([images.get_next()['images'] for _ in range(3)])
    boxes, scores = open_backend('onnxruntime', quantised(target), BackendOptions()).infer(batch)
    wanted_boxes, wanted_scores = open_backend(
        'onnxruntime', float_file, BackendOptions()).infer(batch)
    # random weights give scores near 1/3; 8 bits through 50 layers leave a few per cent
    assert np.abs(scores - wanted_scores).max() < 0.05
    assert np.abs(boxes - wanted_boxes).max() < 0.05
    assert np.abs(boxes - wanted_boxes).mean() < 0.004


@pytest.mark.parametrize('count, portion', [(1, 1), (12, 12), (17, 1), (60, 15), (200, 10)])
def test_all_images_are_taken_in_equal_portions(dataset, count, portion):
    contract = SimpleNamespace()  # no image is read
    assert CalibrationImages(dataset, list(range(count)), contract).portion() == portion


def test_ranges_do_not_depend_on_how_many_images_are_taken_at_a_time(
        quantised, float_file, dataset, tmp_path):
    contract = open_backend('onnxruntime', float_file, BackendOptions()).contract
    images, held = CalibrationImages(dataset, list(range(12)), contract), []
    images.set_range = lambda start_index, end_index: held.append(end_index - start_index) or (
        CalibrationImages.set_range(images, start_index, end_index))
    quantize_onnx(float_file, tmp_path / 'portions.onnx', images, 'cpu', 'minmax', '', portion=4)
    whole, portions = Graph(quantised('cpu')).values, Graph(tmp_path / 'portions.onnx').values
    assert held == [4, 4, 4]
    assert all(np.array_equal(whole[name], portions[name]) for name in whole)


@pytest.mark.parametrize('target', TARGETS)
def test_the_contract_says_int8_and_how(quantised, target):
    contract = open_backend('onnxruntime', quantised(target), BackendOptions()).contract
    assert contract.precision == 'int8'
    assert contract.class_names == ('background', 'bolt', 'nut')
    assert contract.provenance.config.startswith(f'# for {target}\n')


def test_the_cpu_file_reads_the_bytes_of_the_image(quantised):
    found = Graph(quantised('cpu'))
    assert found.readers('images') == ['Transpose']
    assert not found.of_type('Cast')
    transposed = found.of_type('Transpose')[0].output[0]
    dequantise = next(n for n in found.of_type('DequantizeLinear') if transposed in n.input)
    scale, zero_point = (found.values[name] for name in dequantise.input[1:])
    assert (scale, zero_point) == (pytest.approx(1 / 127.5), 128)


def test_the_tensorrt_file_has_no_zero_point_and_no_integer_bias(quantised):
    found = Graph(quantised('tensorrt'))
    for node in found.of_type('QuantizeLinear', 'DequantizeLinear'):
        assert not found.values[node.input[2]].any()
        assert found.values[node.input[2]].dtype == np.int8
    assert not [name for name in found.values if found.values[name].dtype == np.int32]


def test_in_the_tensorrt_file_nothing_stands_behind_a_convolution_that_prevents_fusing(quantised):
    found = Graph(quantised('tensorrt'))
    behind = {kind for node in found.of_type('Conv') for kind in found.readers(node.output[0])}
    assert 'QuantizeLinear' in {kind for node in found.of_type('Clip')
                                for kind in found.readers(node.output[0])}
    # linear projections stay quantised, predictors and activated ones do not
    activated = [node for node in found.of_type('Conv')
                 if 'Clip' in found.readers(node.output[0])]
    assert all(found.readers(node.output[0]) == ['Clip'] for node in activated)
    predictors = [node for node in found.of_type('Conv')
                  if 'Transpose' in found.readers(node.output[0])]
    assert len(predictors) == 12
    assert all(found.readers(node.output[0]) == ['Transpose'] for node in predictors)
    assert behind <= {'Clip', 'Add', 'QuantizeLinear', 'Transpose'}


@pytest.mark.parametrize('target', TARGETS)
def test_weights_have_a_scale_for_each_channel(quantised, target):
    found = Graph(quantised(target))
    shared = []
    for node in found.of_type('Conv'):
        writer = next((n for n in found.of_type('DequantizeLinear')
                       if node.input[1] in n.output), None)
        if writer is None:
            continue  # a predictor left in float
        steps, scale = (found.values[name] for name in writer.input[:2])
        if scale.shape != (steps.shape[0],):
            shared.append(node.name)
    assert shared == []


@pytest.mark.parametrize('target', TARGETS)
def test_operator_sets_are_declared_that_nodes_are_of_and_no_other(quantised, target):
    model = onnx.load(quantised(target))
    assert {node.domain for node in model.graph.node} == {''}
    assert [(item.domain, item.version) for item in model.opset_import] == [('', 17)]
    assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import) == 8


def test_the_cpu_file_cannot_saturate_and_says_so(quantised):
    models = {target: onnx.load(quantised(target)) for target in TARGETS}
    assert check_saturation(models['cpu']) == []
    # symmetric bytes of TensorRT have no such kernel: full steps
    assert len(check_saturation(models['tensorrt'])) > 50
    metadata = {target: {item.key: item.value for item in model.metadata_props}
                for target, model in models.items()}
    assert metadata['cpu'][SATURATION_FREE_KEY] == '1'
    assert SATURATION_FREE_KEY not in metadata['tensorrt']


def test_weights_that_a_file_for_a_cpu_can_hold_are_taken_over(quantised):
    # what learnt with rounded weights is quantised without a loss: the second time is the first
    found = Graph(quantised('cpu'))
    for node in found.of_type('DequantizeLinear'):
        steps, scale = (found.values.get(name) for name in node.input[:2])
        if steps is not None and steps.dtype == np.int8:
            channels = steps if steps.ndim == 4 else steps.T
            weights = channels * scale.reshape(-1, *(1,) * (steps.ndim - 1))
            assert np.array_equal(count_steps(weights, channel_scales(weights)), channels)


def test_a_file_that_saturates_is_not_written(float_file, dataset, tmp_path, monkeypatch):
    # full 8 bits, as files for a CPU had them before
    monkeypatch.setattr(ptq, 'channel_scales', lambda weights: np.abs(weights).max(
        axis=(1, 2, 3)) / np.float32(127))
    contract = open_backend('onnxruntime', float_file, BackendOptions()).contract
    with pytest.raises(ContractError, match=r'out\.onnx: a CPU could saturate with it, \d+ viol.*'
                       r'the first: saturation: .* has the weights -?\d+ at \(\d+, \d+, \d+\) and '
                       r'-?\d+ at \(\d+, \d+, \d+\) of its output channel \d+; 255 \* '):
        quantize_onnx(float_file, tmp_path / 'out.onnx',
                      CalibrationImages(dataset, [0, 31], contract), 'cpu', 'minmax', '')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('target', TARGETS)
def test_softmax_and_decoding_stay_in_float(quantised, target):
    found = Graph(quantised(target))
    for node in found.of_type('Softmax', 'Exp', 'Concat', 'Slice'):
        assert all(found.writer(name) != 'DequantizeLinear' for name in node.input)


def test_a_file_that_tensorrt_would_not_take_is_not_written(
        float_file, dataset, tmp_path, monkeypatch):
    asymmetric = ptq._settings('tensorrt', find_placement(onnx.load(float_file), ''))
    asymmetric['extra_options']['ActivationSymmetric'] = False
    monkeypatch.setattr(ptq, '_settings', lambda *_: asymmetric)
    contract = open_backend('onnxruntime', float_file, BackendOptions()).contract
    with pytest.raises(ContractError, match=r'out\.onnx: TensorRT would not take it, \d+ vio.*the '
                       'first: zero-point: .* has the zero point -?[0-9]+, expected 0'):
        quantize_onnx(float_file, tmp_path / 'out.onnx',
                      CalibrationImages(dataset, [0, 31], contract), 'tensorrt', 'minmax', '')
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_file_is_not_quantised_again(quantised, dataset, tmp_path):
    with pytest.raises(ContractError, match=r'cpu\.onnx: is int8; quantise the fp32 file'):
        quantize_onnx(quantised('cpu'), tmp_path / 'twice.onnx', None, 'cpu', 'minmax', '')


@pytest.mark.parametrize('limit', ['nan', 'inf'])
def test_a_drop_without_a_limit_is_refused(capsys, limit):
    assert main(['quantize', '--model', 'mbv2_ssdlite_voc.onnx', '--output', 'b.onnx',
                 '--target', 'cpu', '--data', '.', '--calibration-split', 'train', '--split',
                 'val', '--max-drop', limit]) == 1
    assert f'--max-drop {limit} is no number of points' in capsys.readouterr().err


def test_the_verb_says_what_was_measured_and_on_which_processor(tmp_path, capsys):
    model, names = everything(), ('background', 'disc', 'square')
    set_contract(model, dataclasses.replace(CONTRACT, class_names=names))
    onnx.save(model, tmp_path / 'float.onnx')
    write_world(tmp_path / 'world', train=4, val=2)
    assert main(['quantize', '--model', str(tmp_path / 'float.onnx'), '--output',
                 str(tmp_path / 'int8.onnx'), '--target', 'cpu', '--data', str(tmp_path / 'world'),
                 '--calibration-split', 'train', '--split', 'val', '--max-drop', '100', '--json',
                 str(tmp_path / 'figures.json')]) == 0
    said = capsys.readouterr().out
    assert 'no products saturate: the same integers on every processor' in said
    assert f'measured on {describe_processor()}, ONNX Runtime {onnxruntime.__version__}\n' in said
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['processor'] == describe_processor()
    assert figures['onnxruntime'] == onnxruntime.__version__
    assert figures['note'].startswith('INT8 for cpu: percentile over 4 images of train')


@pytest.mark.parametrize(('model', 'output', 'said'), [
    ('m.onnx', './m.onnx', 'm.onnx: would overwrite the model'),
    ('best.pt', 'm.onnx', 'best.pt: expected an exported model (.onnx); make one with')])
def test_the_verb_refuses_files_before_it_touches_them(
        model, output, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path(model).write_bytes(b'as it was')
    assert main(['quantize', '--model', model, '--output', output, '--target', 'cpu', '--data',
                 '.', '--calibration-split', 'a', '--split', 'b']) == 1
    assert said in capsys.readouterr().err
    assert Path(model).read_bytes() == b'as it was'
