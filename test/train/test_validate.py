"""Two model files: what is compared, what is reported, and the exit code."""

import dataclasses
import json
import re

import numpy as np
import onnx
from onnx import numpy_helper
import pytest

from helpers.small_graph import CONTRACT, everything
from helpers.synthetic import write_world
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_train import validation
from mbv2ssd_train.cli import main
from mbv2ssd_train.export.float16_file import export_float16
from mbv2ssd_train.onnx_files.check_images import images_of
from mbv2ssd_train.onnx_files.model_file import renew_self_test, set_contract
from mbv2ssd_train.quantize.ptq import quantize_onnx
from mbv2ssd_train.validation import check_contracts, check_map, check_outputs

IMAGES = np.random.default_rng(3).integers(0, 256, (6, 4, 6, 3), dtype=np.uint8)


class Fixed:
    """A model that answers the same to everything."""

    max_batch = max_concurrency = 1

    def __init__(self, contract=CONTRACT, boxes=None, scores=None):
        self.contract = contract
        self.boxes = np.zeros((1, 6, 4), np.float32) if boxes is None else boxes
        self.scores = np.full((1, 6, 3), 0.1, np.float32) if scores is None else scores

    def infer(self, images):
        return self.boxes, self.scores


class Once:
    """Images for calibration."""

    def __init__(self):
        self.left = [{'images': image[None]} for image in IMAGES]

    def get_next(self):
        return self.left.pop() if self.left else None


def write(path, change=lambda model: None, **facts):
    """The model as a file, changed, with other facts in its contract."""
    model = everything()
    change(model)
    set_contract(model, dataclasses.replace(CONTRACT, **facts))
    onnx.save(model, path)
    return str(path)


def turned(model):
    """Give other scores."""
    item, = (item for item in model.graph.initializer if item.name == 'w_conf')
    item.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(item), item.name))


@pytest.fixture
def first(tmp_path):
    return write(tmp_path / 'first.onnx')


def validate(capsys, *arguments):
    """Exit code and printed text."""
    code = main(['validate', *map(str, arguments)])
    return code, ''.join(capsys.readouterr())


@pytest.mark.parametrize('fact, value, said', [
    ('input_size_hw', (4, 8), 'entry 1 is 6 and 8'),
    ('resize_mode', 'letterbox', 'stretch and letterbox'),
    ('class_names', ('background', 'nut', 'bolt'), "entry 1 is 'bolt' and 'nut'"),
    ('class_names', ('background', 'bolt'), 'background, bolt, nut and background, bolt'),
    ('priors_per_level', (2, 4), r'6 and 2, 4'),
    ('arch_fingerprint', 'other', 'everything and other')])
def test_a_fact_that_differs_is_told_with_both_values(fact, value, said):
    other = Fixed(dataclasses.replace(CONTRACT, **{fact: value}))
    wrong, = (check for check in check_contracts(Fixed(), other) if not check.fine)
    assert (wrong.name, wrong.found) == (f'contract: {fact}', said)


def test_precision_and_provenance_may_differ():
    other = Fixed(dataclasses.replace(CONTRACT, precision='int8', provenance=dataclasses.replace(
        CONTRACT.provenance, metric_value=0.5)))
    assert all(check.fine for check in check_contracts(Fixed(), other))


@pytest.mark.parametrize('changes, wrong', [
    ({}, []),
    ({'boxes': np.zeros((1, 5, 4), np.float32)}, ['output: boxes']),
    ({'scores': np.zeros((1, 6, 3), np.float64)}, ['output: scores']),
    ({'scores': np.full((1, 6, 3), np.nan, np.float32)}, ['output: scores'])])
def test_outputs_have_the_shape_of_the_contract_and_are_finite_float32(changes, wrong):
    found = check_outputs(Fixed(), Fixed(**changes), IMAGES[0])
    assert [check.name for check in found if not check.fine] == wrong


@pytest.mark.parametrize('maps, fine', [((0.60, 0.59), True), ((0.60, 0.58), False),
                                        ((0.58, 0.60), True)])
def test_the_second_may_lose_a_point_of_map(monkeypatch, maps, fine):
    left = list(maps)
    monkeypatch.setattr(validation, 'evaluate', lambda *_: type('E', (), {'map_50': left.pop(0)}))
    dataset = type('D', (list,), {'name': 'val'})()
    assert check_map(None, None, dataset, 1.01, None).fine == fine


def test_a_copy_in_float16_passes(first, tmp_path, capsys):
    half = tmp_path / 'half.onnx'
    export_float16(tmp_path / 'first.onnx', half, list(IMAGES))
    code, text = validate(capsys, first, half)
    assert code == 0 and text.endswith('passed\n')
    assert 'ok   detections without partner' in text and 'rules' not in text


def test_another_model_fails_and_the_difference_is_named(first, tmp_path, capsys):
    code, text = validate(capsys, first, write(tmp_path / 'other.onnx', turned), '--json',
                          tmp_path / 'found.json')
    assert code == 1 and 'FAIL scores of priors differ by' in text
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['passed'] is False and found['compared_on'] == 'synthetic'
    wrong = {check['name'] for check in found['checks'] if not check['fine']}
    assert 'scores of priors differ by' in wrong and 'output: scores' not in wrong
    assert found['agreement']['score_max'] > 0.1


def test_models_of_other_classes_are_told_apart_without_comparing_outputs(
        first, tmp_path, capsys):
    other = write(tmp_path / 'other.onnx', class_names=('background', 'bolt', 'screw'))
    code, text = validate(capsys, first, other)
    assert code == 1
    assert "FAIL contract: class_names        entry 2 is 'nut' and 'screw'" in text
    assert 'outputs of different shapes are not compared' in text


def test_a_file_for_tensorrt_is_checked_against_its_rules(first, tmp_path, capsys):
    path = tmp_path / 'int8.onnx'
    quantize_onnx(tmp_path / 'first.onnx', path, Once(), 'tensorrt', 'minmax', 'INT8 for tensorrt')
    loose = ('--max-score-difference', '1', '--min-iou', '0', '--max-alone', '1')
    code, text = validate(capsys, first, path, *loose)
    assert code == 0 and "ok   TensorRT's rules: int8.onnx" in text
    model = onnx.load(path)
    quantise = next(node for node in model.graph.node if node.op_type == 'QuantizeLinear')
    zero_point, = (item for item in model.graph.initializer if item.name == quantise.input[2])
    zero_point.CopyFrom(numpy_helper.from_array(np.array(1, np.int8), zero_point.name))
    onnx.save(model, path)
    code, text = validate(capsys, first, path, *loose)
    assert code == 1 and f'zero-point: {quantise.name} has the zero point 1, expected 0' in text
    assert text.endswith("failed: TensorRT's rules: int8.onnx\n")


def test_a_file_for_the_cpu_is_checked_for_weights_that_saturate(first, tmp_path, capsys):
    path = tmp_path / 'int8.onnx'
    quantize_onnx(tmp_path / 'first.onnx', path, Once(), 'cpu', 'minmax', 'INT8 for cpu: minmax')
    loose = ('--max-score-difference', '1', '--min-iou', '0', '--max-alone', '1')
    code, text = validate(capsys, first, path, *loose)
    assert code == 0 and 'ok   no saturation: int8.onnx' in text and 'rules' not in text
    model = onnx.load(path)
    weights, = (item for item in model.graph.initializer if item.name == 'w_expand_quantized')
    weights.CopyFrom(numpy_helper.from_array(np.full((4, 4, 1, 1), 65, np.int8), weights.name))
    onnx.save(model, path)
    renew_self_test(path)  # it is the lint that is to see it
    code, text = validate(capsys, first, path, *loose)
    assert code == 1 and 'saturation: expand has the weights 65 at ' in text
    assert text.endswith('failed: no saturation: int8.onnx\n')


def test_limits_can_be_given(first, tmp_path, capsys):
    half = tmp_path / 'half.onnx'
    export_float16(tmp_path / 'first.onnx', half, list(IMAGES))
    code, text = validate(capsys, first, half, '--min-iou', '1.01')
    assert code == 1 and text.endswith('failed: overlap with the partner\n')


@pytest.mark.needs('pydantic')
def test_map_is_measured_where_there_are_data(tmp_path, capsys):
    names = {'class_names': ('background', 'disc', 'square')}
    first = write(tmp_path / 'first.onnx', **names)
    write_world(tmp_path / 'world', val=6)
    code, text = validate(capsys, first, first, '--data', tmp_path / 'world', '--split', 'val')
    assert code == 0 and 'on images: val\n' in text
    assert re.search(r'ok   mAP@0.5 .* (\d+\.\d\d) and \1 on val, 6 images', text)


def test_images_are_taken_from_all_over_the_set():
    class Numbered(list):
        def image(self, index):
            return np.full((8, 12, 3), self[index], np.uint8)
    found = images_of(Numbered(range(33)), 3, CONTRACT)
    assert [(image.shape, image.max()) for image in found] == [
        ((4, 6, 3), 0), ((4, 6, 3), 16), ((4, 6, 3), 32)]
    assert len(images_of(Numbered(range(2)), 9, CONTRACT)) == 2


@pytest.mark.parametrize('arguments, said', [
    (('--data', '.'), '--data and --split belong together'),
    (('--max-drop', '1'), '--max-drop limits mAP'),
    (('--images', '0'), '0 images to compare on')])
def test_options_that_make_no_sense_are_refused(first, capsys, arguments, said):
    code, text = validate(capsys, first, first, *arguments)
    assert code == 1 and said in text


def test_an_engine_is_asked_for_by_its_model(first, capsys):
    code, text = validate(capsys, first, 'model_8f3a.engine')
    assert code == 1 and 'give tensorrt:MODEL.onnx' in text


def test_an_engine_is_opened_by_the_tensorrt_backend(first, monkeypatch, capsys):
    opened = []

    def open_any(name, path, options):
        opened.append((name, path))
        return open_backend('onnxruntime', path, BackendOptions())
    monkeypatch.setattr(validation, 'open_backend', open_any)
    code, _ = validate(capsys, first, f'tensorrt:{first}')
    assert code == 0 and opened == [('tensorrt', first)]
