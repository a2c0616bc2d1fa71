"""Weights stored in float16: half the file, and everything that reads the file finds float32."""

import numpy as np
import onnx
from onnx import numpy_helper, TensorProto
import onnxruntime
import pytest

from helpers.paths import ROOT
from helpers.small_graph import everything
from mbv2ssd_ros.core.errors import ConfigError, ContractError
from mbv2ssd_train.cli import main
from mbv2ssd_train.onnx_files.model_file import read_float32
from mbv2ssd_train.onnx_files.storage import restore_float32, store_in_float16
from mbv2ssd_train.weights.files import read_exported

SHIPPED = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)


def constants(model):
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def run(model, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(['boxes', 'scores'], {'images': IMAGES})


def test_weights_of_convolutions_are_stored_in_half_and_nothing_else():
    model = everything()
    weights = {node.input[1] for node in model.graph.node if node.op_type == 'Conv'}
    store_in_float16(model, 'model.onnx')
    halves = {item.name for item in model.graph.initializer
              if item.data_type == TensorProto.FLOAT16}
    assert halves == {f'{name}_float16' for name in weights}
    onnx.checker.check_model(model, full_check=True)


def test_what_is_restored_is_the_model_with_rounded_weights():
    model, expected = everything(), constants(everything())
    weights = {node.input[1] for node in model.graph.node if node.op_type == 'Conv'}
    nodes = [node.SerializeToString() for node in model.graph.node]
    store_in_float16(model, 'model.onnx')
    restore_float32(model)
    found = constants(model)
    assert list(found) == list(expected)
    for name, value in found.items():
        rounded = expected[name].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(value, rounded if name in weights else expected[name])
    assert [node.SerializeToString() for node in model.graph.node] == nodes


@pytest.mark.parametrize('level', ['ORT_DISABLE_ALL', 'ORT_ENABLE_ALL'])
def test_the_stored_model_computes_what_the_restored_one_computes(level):
    level = getattr(onnxruntime.GraphOptimizationLevel, level)
    stored = everything()
    store_in_float16(stored, 'model.onnx')
    restored = onnx.ModelProto.FromString(stored.SerializeToString())
    restore_float32(restored)
    for found, expected in zip(run(stored, level), run(restored, level), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_model_without_stored_weights_stays_as_it_is():
    model = everything()
    restore_float32(model)
    assert model == everything()


def test_a_weight_beyond_float16_is_named():
    model = everything()
    item = next(item for item in model.graph.initializer if item.name == 'w_stem')
    item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(1e8), 'w_stem'))
    with pytest.raises(ContractError, match=r"model\.onnx: 'w_stem' has the value .*65504"):
        store_in_float16(model, 'model.onnx')


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp('stored') / 'half.onnx'
    assert main(['export', '--model', str(SHIPPED), '--precision', 'fp16-weights',
                 '--output', str(path)]) == 0
    return path


def test_the_shipped_model_takes_half_the_space(stored):
    assert stored.stat().st_size < 0.53 * SHIPPED.stat().st_size


def test_training_begins_with_the_stored_weights(stored):
    found, contract = read_exported(stored)
    expected, _ = read_exported(SHIPPED)
    assert found.keys() == expected.keys()
    assert contract.precision == 'fp32'
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=2 ** -11, atol=6e-8, err_msg=name)


def test_what_converts_it_reads_float32(stored):
    model, _ = read_float32(stored, 'convert')
    assert {item.data_type for item in model.graph.initializer} & {
        TensorProto.FLOAT, TensorProto.FLOAT16} == {TensorProto.FLOAT}


def test_the_file_itself_is_not_overwritten(stored, capsys):
    before = stored.read_bytes()
    assert main(['export', '--model', str(stored), '--precision', 'fp16-weights',
                 '--output', str(stored)]) == 1
    assert 'would overwrite the model' in capsys.readouterr().err
    assert stored.read_bytes() == before


def test_the_name_of_the_file_is_checked(tmp_path):
    from mbv2ssd_train.export.float16_file import store_weights_in_float16
    with pytest.raises(ConfigError, match=r'half\.bin: the name of a model file ends in'):
        store_weights_in_float16(SHIPPED, tmp_path / 'half.bin', [])
