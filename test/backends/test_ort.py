"""What is particular to ONNX Runtime."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest

from helpers.tiny_model import add_self_test, CONTRACT, write_tiny_model
from helpers.trt_doubles import ListLog
from mbv2ssd_ros.backends import BackendOptions, open_backend, ort, OrtOptions
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.core.contract import SATURATION_FREE_KEY
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ContractError
from mbv2ssd_ros.core.onnx_metadata import with_metadata
from mbv2ssd_ros.core.output_summary import Difference
from mbv2ssd_ros.core.processor import describe_processor
from mbv2ssd_ros.core.self_test import SELF_TEST_KEY


@pytest.fixture
def path(tmp_path):
    """Return the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx')


def test_the_detail_names_version_and_threads(path):
    detail = open_backend('onnxruntime', path, BackendOptions(ort=OrtOptions(threads=2))).detail
    assert f'ONNX Runtime {onnxruntime.__version__}' in detail and '2 thread(s)' in detail


def test_cameras_are_served_by_threads_and_not_by_batches(path):
    backend = open_backend('onnxruntime', path, BackendOptions(ort=OrtOptions(workers=3)))
    assert (backend.max_batch, backend.max_concurrency) == (1, 3)


@pytest.mark.parametrize(('spin', 'entry'), [(False, '0'), (True, '1')])
def test_threads_spin_only_when_asked_to(path, monkeypatch, spin, entry):
    made = []
    original = onnxruntime.InferenceSession

    def recorded(model, settings, **arguments):
        made.append(settings)
        return original(model, settings, **arguments)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', recorded)
    open_backend('onnxruntime', path, BackendOptions(ort=OrtOptions(threads=2, spin=spin)))
    assert made[0].get_session_config_entry('session.intra_op.allow_spinning') == entry
    assert made[0].intra_op_num_threads == 2


def test_a_graph_that_fails_when_it_runs_is_refused_in_one_line(path):
    model = onnx.load(path)
    next(constant for constant in model.graph.initializer if constant.name == 'red_green'
         ).CopyFrom(onnx.numpy_helper.from_array(np.array([0, 7]), 'red_green'))  # no such channel
    onnx.save(model, path)
    with pytest.raises(BackendError, match=f'{path}: ONNX Runtime failed: .*idx=7') as raised:
        open_backend('onnxruntime', path, BackendOptions())
    assert len(str(raised.value).splitlines()) == 1


# execution providers

def test_a_provider_that_this_build_lacks_is_named_beside_those_it_has(path):
    with pytest.raises(BackendError, match=(
            f'providers: this ONNX Runtime {onnxruntime.__version__} has no MagicExecutionProvider'
            ', only .*CPUExecutionProvider')):
        open_backend('onnxruntime', path, BackendOptions(ort=OrtOptions(
            providers=('MagicExecutionProvider', 'CPUExecutionProvider'))))


@pytest.mark.filterwarnings('ignore:Specified provider')
def test_a_provider_that_falls_back_without_a_word_is_an_error(path, monkeypatch):
    present = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, 'get_available_providers',
                        lambda: ['CUDAExecutionProvider', *present])
    with pytest.raises(BackendError, match=(
            f'{path}: ONNX Runtime could not start CUDAExecutionProvider and would run on CPU')):
        open_backend('onnxruntime', path, BackendOptions(ort=OrtOptions(
            providers=('CUDAExecutionProvider', 'CPUExecutionProvider'))))


@pytest.mark.parametrize(('providers', 'entry'), [
    (('CPUExecutionProvider',), None), (('FakeExecutionProvider',), '1')])
def test_the_cpu_helps_out_only_where_it_is_listed(path, monkeypatch, providers, entry):
    made = []

    def recorded(model, settings, **arguments):
        made.append((settings, arguments['providers']))
        raise RuntimeError('enough')

    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: list(providers))
    monkeypatch.setattr(onnxruntime, 'InferenceSession', recorded)
    with pytest.raises(BackendError, match='enough'):
        open_backend('onnxruntime', path, BackendOptions(ort=OrtOptions(providers=providers)))
    settings, given = made[0]
    assert given == list(providers)
    try:
        found = settings.get_session_config_entry('session.disable_cpu_ep_fallback')
    except RuntimeError:  # never set
        found = None
    assert found == entry


def test_onnxruntime_knows_the_setting_that_keeps_the_cpu_out(path):
    others = [name for name in onnxruntime.get_available_providers()
              if name == 'AzureExecutionProvider']  # which knows no operator of ours
    if not others:
        pytest.skip('this ONNX Runtime has no AzureExecutionProvider')
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry('session.disable_cpu_ep_fallback', '1')
    settings.log_severity_level = 4
    with pytest.raises(Exception, match='fallback to CPU EP has been explicitly disabled'):
        onnxruntime.InferenceSession(str(path), settings, providers=others)


def test_the_detail_names_the_providers(path):
    assert ', CPU, 1 thread(s)' in open_backend('onnxruntime', path, BackendOptions()).detail


# integers that may saturate, and files with and without a self-test

INT8 = dataclasses.replace(CONTRACT, precision='int8')
FREE = {SATURATION_FREE_KEY: '1'}


def exact_setting(path, monkeypatch, saturates, options=None):
    """Open a file where kernels saturate or not; returns the setting, and what was logged."""
    made, log = [], ListLog()
    original = onnxruntime.InferenceSession

    def recorded(model, settings, **arguments):
        made.append(settings)
        return original(model, settings, **arguments)

    monkeypatch.setattr(ort, 'kernels_saturate', lambda: saturates)
    monkeypatch.setattr(onnxruntime, 'InferenceSession', recorded)
    open_backend('onnxruntime', path, options or BackendOptions(), LoadContext(log))
    try:
        return made[0].get_session_config_entry('session.x64quantprecision'), log
    except RuntimeError:  # never set
        return None, log


@pytest.mark.parametrize(('contract', 'metadata', 'saturates', 'expected'), [
    (INT8, {}, True, '1'), (INT8, {SATURATION_FREE_KEY: '0'}, True, '1'), (INT8, {}, False, None),
    (INT8, FREE, True, None), (CONTRACT, {}, True, None)])
def test_integers_that_may_saturate_are_computed_exactly_where_they_would_and_nowhere_else(
        tmp_path, monkeypatch, contract, metadata, saturates, expected):
    path = write_tiny_model(tmp_path / 'tiny.onnx', contract)
    for key, value in metadata.items():
        path.write_bytes(with_metadata(path.read_bytes(), key, value, 'tiny'))
    found, log = exact_setting(path, monkeypatch, saturates)
    assert found == expected
    assert len(log.warnings) == (expected == '1')


def test_the_warning_names_file_reason_price_and_what_to_do(tmp_path, monkeypatch):
    path = write_tiny_model(tmp_path / 'tiny.onnx', INT8)
    line, = exact_setting(path, monkeypatch, True)[1].warnings
    for part in (f'{path}: is int8', 'saturate on this processor', describe_processor(),
                 'session.x64quantprecision', '1.2 to 1.4 times', 'mbv2ssd_train quantize'):
        assert part in line


def test_the_detail_says_that_integers_are_computed_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(ort, 'kernels_saturate', lambda: True)
    details = [open_backend('onnxruntime', write_tiny_model(tmp_path / 'tiny.onnx', contract),
                            BackendOptions()).detail for contract in (INT8, CONTRACT)]
    assert details[0] == f'{details[1]}, x64quantprecision'


def test_a_file_without_self_test_is_told_in_one_line_that_says_how_it_gets_one(path):
    log = ListLog()
    assert open_backend('onnxruntime', path, BackendOptions(), LoadContext(log)).self_test is None
    line, = log.lines
    assert line.startswith(f'{path} has no self-test')
    assert f'`mbv2ssd_train self-test --model {path}`' in line


def test_a_self_test_that_passes_is_not_worth_a_line_and_its_figures_are_kept(path):
    add_self_test(path)
    log = ListLog()
    backend = open_backend('onnxruntime', path, BackendOptions(), LoadContext(log))
    assert log.lines == [] and backend.self_test.within(Difference(*[1e-6] * 6))


def test_a_self_test_that_cannot_be_read_is_refused(path):
    path.write_bytes(with_metadata(path.read_bytes(), SELF_TEST_KEY, '{}', 'tiny'))
    with pytest.raises(ContractError, match=f'{path}: self-test has schema version None'):
        open_backend('onnxruntime', path, BackendOptions())


def test_another_precision_than_was_asked_for_is_refused(path):
    with pytest.raises(ConfigError, match=(
            f'{path}: its precision is fp32, the parameter precision asks for int8')):
        open_backend('onnxruntime', path, BackendOptions(precision='int8'))
    assert open_backend('onnxruntime', path, BackendOptions(precision='fp32')).name
