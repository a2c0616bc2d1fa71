"""The self-test that a file is given when it is written, and the verb that adds one."""

import cv2
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
import pytest
from test_export import make_backend

from helpers.paths import ROOT
from helpers.small_graph import CONTRACT, everything
from mbv2ssd_ros.backends import BackendOptions, first_run, open_backend
from mbv2ssd_ros.core.onnx_metadata import read_metadata
from mbv2ssd_ros.core.output_summary import Difference, LIMITS
from mbv2ssd_ros.core.self_test import SELF_TEST_KEY, SelfTest
from mbv2ssd_train.cli import main
from mbv2ssd_train.export.onnx_file import export_onnx
from mbv2ssd_train.onnx_files.model_file import save_beside
from mbv2ssd_train.onnx_files.self_test import infer_as_written, PICTURES


@pytest.fixture
def path(tmp_path):
    """Return a file with a contract and no self-test."""
    target = tmp_path / 'small.onnx'
    onnx.save(everything(), target)
    return target


def self_test_of(path, contract=CONTRACT):
    """Read the self-test of a file."""
    return SelfTest.from_json(read_metadata(path.read_bytes(), 'm')[SELF_TEST_KEY], contract, 'm')


@pytest.mark.parametrize('name', PICTURES)
def test_a_picture_is_the_demo_s_reduced(name):
    picture = cv2.imread(str(ROOT / 'mbv2ssd_train' / 'onnx_files' / 'pictures' / name))
    height, width = picture.shape[:2]
    assert height != width and max(height, width) == 112
    source = cv2.imread(str(ROOT / 'config' / 'demo' / 'images' / name.replace('png', 'jpg')))
    reduced = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - picture).max() <= 9  # 16 levels: 8 at most, and a JPEG
    assert name.removesuffix('.png') in (
        ROOT / 'config' / 'demo' / 'images' / 'LICENSE.md').read_text().partition('pictures')[2]


def test_the_answers_are_those_of_onnx_s_own_evaluator(path):
    case = self_test_of(save_beside(everything(), path)).cases[1]
    image = cv2.resize(case.picture[..., ::-1], (6, 4), interpolation=cv2.INTER_LINEAR)
    boxes, scores = ReferenceEvaluator(everything()).run(None, {'images': image[None]})
    strongest = case.answer.strongest
    assert scores[0, strongest, 1:].max(axis=1).argmax() == 0 and len(strongest) == 6
    np.testing.assert_allclose(case.answer.scores, scores[0, strongest, 1:], atol=1e-5)
    np.testing.assert_allclose(case.answer.boxes, boxes[0, strongest], atol=1e-5)


def test_integers_are_computed_in_float_for_the_reference():
    graph = onnx.parser.parse_model('''
        <ir_version: 8, opset_import: ["" : 17]>
        net (uint8[batch, 2] images) => (float[batch, 1] boxes, float[batch, 1] scores)
        <float one = {1}, uint8 zero = {0}, int8 none = {0}, int8[2, 1] weights = {127, 127}>
        {
            map = DequantizeLinear(images, one, zero)
            columns = DequantizeLinear(weights, one, none)
            boxes = MatMul(map, columns)
            scores = Identity(boxes)
        }''')
    boxes, _ = infer_as_written(graph.SerializeToString())(np.array([[255, 255]], np.uint8))
    assert boxes[0, 0] == 2 * 255 * 127  # 32767 where it saturates


def test_an_exported_file_has_one_and_a_written_one_a_new_one(tmp_path):
    backend, path = make_backend(), tmp_path / 'model.onnx'
    export_onnx(backend, path)
    first = self_test_of(path, backend.contract)
    assert first.measure(backend.infer, backend.contract).within(LIMITS['fp32'])
    model = onnx.load(path)
    bias = next(item for item in model.graph.initializer if 'conf_heads.0.1' in item.name)
    bias.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(bias), bias.name))
    save_beside(model, path).replace(path)
    second = self_test_of(path, backend.contract)
    assert not first.measure(infer_as_written(path.read_bytes()), backend.contract
                             ).within(LIMITS['fp32'])
    assert second.measure(infer_as_written(path.read_bytes()), backend.contract
                          ) == Difference(0, 0, 0, 0, 0, 0)


def test_the_verb_adds_one_leaves_the_graph_and_prints_figures_and_limits(path, capsys):
    before = path.read_bytes()
    assert main(['self-test', '--model', str(path)]) == 0
    after = path.read_bytes()
    assert after.startswith(before)  # an entry was added, nothing else
    assert open_backend('onnxruntime', path, BackendOptions()).self_test.score < 1e-5
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f'{path}: 0.0 MB with a self-test; fp32 on ')
    assert len(shown) == 7 and 'largest score of a class' in shown[3]
    assert 'allowed 0.02' in shown[3] and shown[3].endswith(' 0 %')
    assert main(['self-test', '--model', str(path), str(path)]) == 0
    assert path.read_bytes() == after  # renewing gives the same


def test_a_file_that_fails_here_stays_as_it_was(path, monkeypatch, capsys):
    before = path.read_bytes()
    monkeypatch.setattr(first_run, 'LIMITS', {'fp32': Difference(*[1e-12] * 6)})
    assert main(['self-test', '--model', str(path)]) == 1
    assert 'fails its self-test with ONNX Runtime' in capsys.readouterr().err
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('none.onnx', None, 'none.onnx: cannot be read: No such file or directory'),
    ('words.onnx', b'words', 'words.onnx: cannot be read as ONNX'),
    ('bare.onnx', b'\x08\x08', "bare.onnx: no 'mbv2ssd.contract' in its metadata"),
])
def test_what_is_no_model_of_ours_is_refused_in_one_line(tmp_path, capsys, name, content, message):
    if content:
        (tmp_path / name).write_bytes(content)
    assert main(['self-test', '--model', str(tmp_path / name)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f'mbv2ssd_train self-test: {tmp_path}/{message}')


def test_a_file_that_onnxruntime_refuses_is_refused_by_name(path, capsys):
    model = everything()
    model.graph.node[5].op_type = 'NoSuchThing'
    onnx.save(model, path)
    assert main(['self-test', '--model', str(path)]) == 1
    assert f'{path}: ONNX Runtime' in capsys.readouterr().err
