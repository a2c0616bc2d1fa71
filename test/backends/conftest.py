"""Fixtures that put doubles in the place of NVIDIA's libraries."""

import gc
import json

import pytest

from helpers.needs import need
from helpers.paths import DOUBLES
from helpers.trt_doubles import build_here, forget_doubles


@pytest.fixture
def double(monkeypatch, tmp_path):
    """
    Put doubles of tensorrt and pycuda in place; returns a function that makes them.

    At the end no rule may have been broken, and nothing may be left on the GPU.
    """
    need('onnx')
    need('onnxruntime')
    monkeypatch.syspath_prepend(DOUBLES)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    made = []

    def make(**settings):
        monkeypatch.setenv('MBV2SSD_DOUBLE', json.dumps(settings))
        forget_doubles()
        import double_state
        import pycuda.driver
        made.append((double_state.STATE, pycuda.driver.GPU))
        return double_state.STATE

    yield make
    forget_doubles()
    for state, gpu in made:
        if gpu.memory or gpu.streams or gpu.primary_contexts:
            gc.collect()  # what only a collection frees is freed in the wrong thread
        assert state.broken_rules == []
        assert [stack for stack in gpu.stacks.values() if stack] == []
        assert (gpu.memory, dict(gpu.streams), gpu.graphs, gpu.primary_contexts) == (
            {}, {}, set(), 0)


@pytest.fixture
def tensorrt_here(double, monkeypatch):
    """Make `open_backend('tensorrt', ...)` use a double, and build in this process."""
    from mbv2ssd_ros.backends import opening

    def open_here(model_path, options, loading):
        from mbv2ssd_ros.backends.trt.backend import TrtBackend
        from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
        return TrtBackend(model_path, options, loading, load_nvidia(), build_here)

    monkeypatch.setitem(opening._OPENERS, 'tensorrt', open_here)
    return double
