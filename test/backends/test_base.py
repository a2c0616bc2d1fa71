"""Choosing a backend by name."""

import sys

import pytest

from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.core.errors import BackendError, ConfigError


def test_an_unknown_backend_is_named_beside_the_known_ones(tmp_path):
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    with pytest.raises(ConfigError, match="backend is 'tflite', expected .*auto, onnxruntime"):
        open_backend('tflite', path, BackendOptions())


def test_auto_says_what_it_chose(tmp_path):
    backend = open_backend('auto', write_tiny_model(tmp_path / 'tiny.onnx'), BackendOptions())
    assert backend.name == 'onnxruntime'


def test_the_path_may_be_a_string(tmp_path):
    path = str(write_tiny_model(tmp_path / 'tiny.onnx'))
    assert open_backend('onnxruntime', path, BackendOptions()).name == 'onnxruntime'


@pytest.mark.parametrize('name', ['onnxruntime', 'auto'])
def test_a_missing_engine_is_an_error_with_the_remedy(tmp_path, monkeypatch, name):
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    monkeypatch.delitem(sys.modules, 'mbv2ssd_ros.backends.ort', raising=False)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)  # as if it were not installed
    with pytest.raises(BackendError, match='onnxruntime cannot be imported.*pip install'):
        open_backend(name, path, BackendOptions())


@pytest.mark.parametrize(('options', 'key'), [
    (OrtOptions, 'threads'), (OrtOptions, 'workers'), (BackendOptions, 'max_batch')],
    ids=['threads', 'workers', 'max_batch'])
def test_options_below_1_are_refused(options, key):
    with pytest.raises(ConfigError, match=f'{key} is 0, expected at least 1'):
        options(**{key: 0})
