"""The files in models/: where they load, and what they promise."""


import onnx
import pytest

from helpers.paths import ROOT
from mbv2ssd_ros.core.contract import SATURATION_FREE_KEY
from mbv2ssd_train.quantize.saturation import check_saturation

MODELS = sorted((ROOT / 'models').glob('*.onnx'))


def test_there_are_eight_and_they_stay_small():
    assert len(MODELS) == 8
    assert sum(path.stat().st_size for path in MODELS) < 60e6


@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
def test_no_operator_set_is_declared_that_an_old_runtime_lacks(path):
    # ONNX Runtime 1.15 to 1.17 refuse a file for a set that they do not know, used or not
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {''}
    assert [(item.domain, item.version) for item in model.opset_import] == [('', 17)]
    assert model.ir_version == 8


@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
def test_files_for_a_cpu_cannot_saturate_and_say_so(path):
    model = onnx.load(path)
    says = {item.key: item.value for item in model.metadata_props}.get(SATURATION_FREE_KEY)
    assert says == ('1' if path.stem.endswith('int8_cpu') else None)
    if says:
        assert check_saturation(model) == []
