"""The float16 copy: what is float16 in it, where it is cast, and when it is refused."""

import numpy as np
import onnx
from onnx import numpy_helper, TensorProto
import pytest

from helpers.small_graph import CONTRACT, everything
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import ConfigError, ContractError
from mbv2ssd_train.cli import main
from mbv2ssd_train.export import float16_file
from mbv2ssd_train.export.float16_file import export_float16
from mbv2ssd_train.export.half import check_activations, Float16Error, to_float16

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
IMAGES = np.random.default_rng(3).integers(0, 256, (6, 4, 6, 3), dtype=np.uint8)


def types_of(model):
    """Element type of every tensor."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {**{value.name: value.type.tensor_type.elem_type for value in values},
            **{item.name: item.data_type for item in inferred.initializer}}


def with_weight(name, factor, model=None):
    """The model, one layer's weights multiplied."""
    model = model or everything()
    item, = (item for item in model.graph.initializer if item.name == name)
    item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(factor), name))
    return model


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'model.onnx'
    onnx.save(everything(), path)
    return path


def test_the_ends_and_the_decoding_stay_in_float32():
    types = types_of(to_float16(everything(), 'model.onnx'))
    assert types['images'] == TensorProto.UINT8
    assert {types[name] for name in ('normal', 'boxes', 'scores')} == {FLOAT}


def test_the_network_is_float16():
    types = types_of(to_float16(everything(), 'model.onnx'))
    names = ('stem', 'swish', 'relu6', 'gate', 'sum', 'pool', 'loc', 'logits', 'w_stem',
             'w_fc1', 'w_conf')
    assert {types[name] for name in names} == {HALF}


def test_sums_of_squares_stay_in_float32():
    types = types_of(to_float16(everything(), 'model.onnx'))
    names = ('squares', 'total', 'root', 'inverse', 'long', 'tiny')
    assert {types[name] for name in names} == {FLOAT}


def test_each_border_has_one_cast():
    copy = to_float16(everything(), 'model.onnx')
    casts = {node.input[0] for node in copy.graph.node if node.op_type == 'Cast'}
    # the image; into the network; around the L2 norm; boxes and scores
    assert casts == {'images', 'normal', 'pool', 'long', 'boxes_raw', 'logits'}
    assert sum(node.op_type == 'Cast' for node in copy.graph.node) == 6


def test_a_constant_of_both_sides_is_there_in_both_types():
    types = types_of(to_float16(everything(), 'model.onnx'))  # 0 is a bound of ReLU6 and of boxes
    assert (types['zero'], types['zero_float16'], types['six']) == (FLOAT, HALF, HALF)


def test_the_original_is_left_as_it_was():
    model = everything()
    before = model.SerializeToString()
    to_float16(model, 'model.onnx')
    assert model.SerializeToString() == before


def test_a_weight_beyond_float16_is_named():
    with pytest.raises(Float16Error, match=r"m\.onnx: 'w_last' of node 'last' has the value "
                       r'.*e\+06, float16 ends at 65504'):
        to_float16(with_weight('w_last', 1e6), 'm.onnx')


def test_a_weight_that_is_not_a_number_is_refused():
    with pytest.raises(Float16Error, match="'w_last' of node 'last' has the value nan"):
        to_float16(with_weight('w_last', np.nan), 'm.onnx')


def test_a_map_beyond_float16_is_named():
    # every weight has a float16, the map that they make has not
    model = with_weight('w_stem', 50, with_weight('w_expand', 5e4))
    to_float16(model, 'm.onnx')
    with pytest.raises(Float16Error, match=r"m\.onnx: the map 'expand' reaches \d{5,}, .*65504"):
        check_activations(model, IMAGES, 'm.onnx')


def test_the_largest_value_of_the_maps_is_measured():
    # ReLU6 lets nothing above 6 pass; the stem sees pixels in [-1, 1]
    assert 1 < check_activations(everything(), IMAGES, 'm.onnx') < 50


def test_the_file_detects_the_same_and_says_what_it_is(source):
    output = source.with_name('half.onnx')
    found = export_float16(source, output, list(IMAGES))
    assert found.images == 6 and found.detections > 0 and found.alone == 0
    assert 0 < found.score_max < 5e-3
    backend = open_backend('onnxruntime', output, BackendOptions(precision='fp16'))
    assert backend.contract.class_names == CONTRACT.class_names
    boxes, scores = backend.infer(IMAGES[:2])
    assert (boxes.shape, boxes.dtype) == ((2, 6, 4), np.float32)
    assert (scores.shape, scores.dtype) == ((2, 6, 3), np.float32)


def test_a_copy_that_detects_something_else_is_not_written(source, monkeypatch):
    output = source.with_name('half.onnx')
    output.write_text('the earlier one')
    wrong = to_float16(with_weight('w_conf', -1), 'm')
    monkeypatch.setattr(float16_file, 'to_float16', lambda *_: wrong)
    with pytest.raises(Float16Error, match=r'half\.onnx: detects something else .*scores of'):
        export_float16(source, output, list(IMAGES))
    assert output.read_text() == 'the earlier one'
    assert sorted(path.name for path in source.parent.iterdir()) == ['half.onnx', 'model.onnx']


def test_a_float16_file_is_not_converted_again(source):
    output = source.with_name('half.onnx')
    export_float16(source, output, list(IMAGES))
    with pytest.raises(ContractError, match=r'half\.onnx: is fp16; convert the fp32 file'):
        export_float16(output, source.with_name('again.onnx'), list(IMAGES))


def test_a_model_is_not_overwritten_by_its_copy(source):
    with pytest.raises(ConfigError, match=r'model\.onnx: would overwrite the model'):
        export_float16(source, source.parent / '.' / 'model.onnx', list(IMAGES))


def test_the_verb_converts_a_file(source, capsys):
    output = source.with_name('half.onnx')
    assert main(['export', '--model', str(source), '--precision', 'fp16', '--output', str(output)
                 ]) == 0
    assert 'half.onnx: 0.0 MB, float16; on 16 synthetic images' in capsys.readouterr().out


@pytest.mark.parametrize('more, said', [
    (['--model', 'm.onnx'], '--model, --data and --split are for --precision fp16'),
    (['--checkpoint', 'best.pt', '--precision', 'fp16', '--data', '.'],
     '--data and --split belong together')])
def test_the_verb_refuses_what_has_no_effect(more, said, capsys):
    assert main(['export', *more, '--output', 'out.onnx']) == 1
    assert said in capsys.readouterr().err
