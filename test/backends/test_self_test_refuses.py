"""
The self-test on the shipped models: it takes good files, and none that is wrong in any way.

Good ones have half of each limit to spare, wrong ones exceed twice a limit. Integers round, so
that a small fault of a layer is told from rounding in float32 only: there every one is seen.
"""

import dataclasses

import pytest

from helpers.changed_models import (
    bgr,
    called_free_of_saturation,
    changed,
    FILES,
    letterboxed,
    MODELS,
    proved,
    scaled,
    shifted_classes,
    swapped,
    without_channel,
)
from mbv2ssd_ros.backends import BackendOptions, first_run, open_backend
from mbv2ssd_ros.core import image
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.onnx_metadata import read_metadata
from mbv2ssd_ros.core.output_summary import Difference
from mbv2ssd_ros.core.processor import describe_processor
from mbv2ssd_ros.core.self_test import SELF_TEST_KEY, SelfTest
from mbv2ssd_train.onnx_files.self_test import infer_as_written

OF_EITHER_PRECISION = {
    'a layer times 1.1': scaled('features.2.conv.1.0'),
    'a predictor times 1.1': scaled('conf_heads.0.0.0'),
    'a channel of zeros': without_channel('features.7.conv.2', 29),
    'two layers swapped': swapped('features.8.conv.2', 'features.9.conv.2'),
    'BGR': bgr,
    'letterbox': letterboxed,
    'classes shifted': shifted_classes,
}
OF_FLOAT32 = {f'features.{number}.conv.2 times 1.1': scaled(f'features.{number}.conv.2')
              for number in (2, 6, 9, 12, 15, 17)}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return a function that gives a shipped file with a self-test."""
    folder, made = tmp_path_factory.mktemp('shipped'), {}

    def get(name):
        if name not in made:
            made[name] = proved(name, folder)
        return made[name]
    return get


@pytest.fixture
def limits(monkeypatch):
    """Return a function that multiplies all limits."""
    def multiply(factor):
        monkeypatch.setattr(first_run, 'LIMITS', {
            precision: Difference(*[factor * value for value in dataclasses.astuple(limit)])
            for precision, limit in first_run.LIMITS.items()})
    return multiply


def opened(path):
    """Open with the settings of a node, and close."""
    backend = open_backend('onnxruntime', path, BackendOptions())
    backend.close()
    return backend


@pytest.mark.parametrize('name', FILES)
def test_a_good_file_has_half_of_each_limit_to_spare(files, limits, name):
    path = files(name)
    limits(0.5)
    assert opened(path).self_test.highest < 0.15


@pytest.mark.parametrize('name', FILES)
def test_the_shipped_file_has_the_self_test_of_its_graph(name):
    content = (MODELS / name).read_bytes()
    metadata = read_metadata(content, name)
    contract = ModelContract.from_metadata(metadata, name)
    assert SELF_TEST_KEY in metadata, f'mbv2ssd_train self-test --model models/{name}'
    self_test = SelfTest.from_json(metadata[SELF_TEST_KEY], contract, name)
    assert self_test.measure(infer_as_written(content), contract).within(first_run.LIMITS['fp32'])


@pytest.mark.parametrize('name', FILES)
def test_a_self_test_takes_less_than_40_kb(files, name):
    assert files(name).stat().st_size - (MODELS / name).stat().st_size < 40_000


@pytest.mark.parametrize('name', ['mbv2_ssdlite_voc.onnx', 'mbv2_ssdlite_320_voc_int8_cpu.onnx',
                                  'mbv2_ssdlite_voc_int8_cpu.onnx'])
@pytest.mark.parametrize('change', OF_EITHER_PRECISION.values(), ids=OF_EITHER_PRECISION)
def test_a_wrong_file_exceeds_twice_a_limit(files, limits, name, change):
    wrong = changed(files(name), change, called_free_of_saturation)
    limits(2)
    with pytest.raises(BackendError, match=f'changed_{name}: fails its self-test with ONNX Runti'):
        opened(wrong)


@pytest.mark.parametrize('change', OF_FLOAT32.values(), ids=OF_FLOAT32)
def test_in_float32_a_change_of_any_layer_shows(files, limits, change):
    wrong = changed(files('mbv2_ssdlite_voc.onnx'), change)
    limits(2)
    with pytest.raises(BackendError, match='fails its self-test'):
        opened(wrong)


@pytest.mark.parametrize('name', ['mbv2_ssdlite_voc.onnx', 'mbv2_ssdlite_voc_int8_cpu.onnx'])
def test_another_filter_of_the_resize_shows(files, limits, monkeypatch, name):
    path = files(name)
    limits(2)
    opened(path)
    monkeypatch.setattr(image.cv2, 'INTER_LINEAR', image.cv2.INTER_NEAREST)
    with pytest.raises(BackendError, match='fails its self-test'):
        opened(path)


def test_the_refusal_names_file_figures_limits_engine_processor_and_what_to_do(files):
    wrong = changed(files('mbv2_ssdlite_voc.onnx'), letterboxed)
    with pytest.raises(BackendError) as raised:
        opened(wrong)
    message = str(raised.value)
    assert message.startswith(f'{wrong}: fails its self-test with ONNX Runtime 1.')
    for part in (f', CPU, 1 thread(s) an inference on {describe_processor()}. ',
                 'mean box of a level 0.09', '(fp32 allows 0.002)', 'download or export it again',
                 'another precision'):
        assert part in message, message
    assert len(message.splitlines()) == 1
