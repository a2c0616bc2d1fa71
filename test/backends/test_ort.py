"""What is particular to ONNX Runtime."""

import onnxruntime
import pytest
from tiny_model import write_tiny_model

from mbv2ssd_ros.backends import BackendOptions, open_backend


@pytest.fixture
def path(tmp_path):
    """Return the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx')


def test_the_detail_names_version_and_threads(path):
    detail = open_backend('onnxruntime', path, BackendOptions(threads=2)).detail
    assert f'ONNX Runtime {onnxruntime.__version__}' in detail and '2 thread(s)' in detail


def test_cameras_are_served_by_threads_and_not_by_batches(path):
    backend = open_backend('onnxruntime', path, BackendOptions(workers=3))
    assert (backend.max_batch, backend.max_concurrency) == (1, 3)


@pytest.mark.parametrize(('spin', 'entry'), [(False, '0'), (True, '1')])
def test_threads_spin_only_when_asked_to(path, monkeypatch, spin, entry):
    made = []
    original = onnxruntime.InferenceSession

    def recorded(model, settings, **arguments):
        made.append(settings)
        return original(model, settings, **arguments)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', recorded)
    open_backend('onnxruntime', path, BackendOptions(threads=2, spin=spin))
    assert made[0].get_session_config_entry('session.intra_op.allow_spinning') == entry
    assert made[0].intra_op_num_threads == 2
