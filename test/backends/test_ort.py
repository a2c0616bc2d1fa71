"""What is particular to ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_model import write_tiny_model

from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.errors import BackendError


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


def test_a_graph_that_fails_when_it_runs_is_refused_in_one_line(path):
    model = onnx.load(path)
    next(constant for constant in model.graph.initializer if constant.name == 'red_green'
         ).CopyFrom(onnx.numpy_helper.from_array(np.array([0, 7]), 'red_green'))  # no such channel
    onnx.save(model, path)
    with pytest.raises(BackendError, match=f'{path}: ONNX Runtime failed: .*idx=7') as raised:
        open_backend('onnxruntime', path, BackendOptions())
    assert len(str(raised.value).splitlines()) == 1
