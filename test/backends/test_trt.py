"""The TensorRT backend on doubles: what it asks of the GPU, in which order, what it survives."""

import dataclasses
import errno
from importlib import import_module
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from helpers.paths import DOUBLES, ROOT
from helpers.tiny_model import add_self_test, CONTRACT, PRIORS, write_tiny_model
from helpers.trt_doubles import build_here, ListLog
from mbv2ssd_ros.backends import BackendOptions, open_backend, TrtOptions
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.core.errors import BackendError, ConfigError
from mbv2ssd_ros.core.output_summary import Difference

HEIGHT, WIDTH = CONTRACT.input_size_hw


@pytest.fixture
def path(tmp_path):
    """Return the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx')


@pytest.fixture
def log():
    """Return a log to look at."""
    return ListLog()


@pytest.fixture
def opened(double, path, log, tmp_path):
    """
    Return a function that opens the tiny model and counts the engines it builds.

    The doubles are made by the first call, with its settings.
    """
    backends, builds = [], []

    def counted(*arguments):
        builds.append(arguments[1])
        return build_here(*arguments)

    def open_it(options=None, loading=None, build=counted, state=None, **settings):
        from mbv2ssd_ros.backends.trt.backend import TrtBackend
        from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
        if open_it.state is None:
            open_it.state = double(**settings)
        backend = TrtBackend(
            path, options or cached_in(tmp_path / 'engines'),
            loading or LoadContext(log), load_nvidia(), build)
        backends.append(backend)
        return backend

    open_it.state, open_it.builds, open_it.folder = None, builds, tmp_path / 'engines'
    yield open_it
    for backend in backends:
        backend.close()


def images(count, seed=0):
    """A batch of noise."""
    return np.random.default_rng(seed).integers(
        0, 128, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def expected_boxes():
    """The boxes of every image: the cells."""
    from helpers.tiny_model import cell_box, COLUMNS, ROWS
    return np.stack([cell_box(row, column) for row in range(ROWS) for column in range(COLUMNS)])


def reds(batch):
    """The mean red of the first cell of each image, which is its first score."""
    return batch[:, :8, :8, 0].mean(axis=(1, 2)) / 255


def cached_in(folder, **common):
    """Options with a folder of built engines."""
    return BackendOptions(trt=TrtOptions(engine_cache_dir=str(folder)), **common)


def three(tmp_path):
    """Options for batches of up to three."""
    return cached_in(tmp_path / 'engines', max_batch=3)


# batches and memory

@pytest.mark.parametrize('graphs', [True, False])
@pytest.mark.parametrize('integrated', [True, False])
@pytest.mark.parametrize('version', ['8.6', '11.4'])
def test_batches_of_every_size_are_answered_on_both_kinds_of_gpu(
        opened, tmp_path, integrated, version, graphs):
    backend = opened(three(tmp_path), integrated=integrated, version=version, graphs=graphs)
    for count in (1, 2, 3, 2, 1, 7):
        batch = images(count, count)
        boxes, scores = backend.infer(batch)
        np.testing.assert_allclose(boxes, [expected_boxes()] * count, atol=1e-6)
        np.testing.assert_allclose(scores[:, 0, 1], reds(batch), atol=1e-6)
        assert scores.shape == (count, PRIORS, 3)


def test_a_batch_runs_at_once_and_a_larger_one_in_parts(opened, tmp_path):
    backend = opened(three(tmp_path))
    opened.state.calls.clear()
    backend.infer(images(3))
    backend.infer(images(7))
    assert [what for what, _ in opened.state.calls if what.startswith('enqueue')] == [
        'enqueue 3', 'enqueue 3', 'enqueue 3', 'enqueue 1']


@pytest.mark.parametrize(('graphs', 'call'), [(True, 'launch'), (False, 'enqueue 1')])
@pytest.mark.parametrize('integrated', [True, False])
def test_nothing_is_allocated_or_freed_between_frames(opened, integrated, graphs, call):
    backend = opened(integrated=integrated, graphs=graphs)
    opened.state.calls.clear()
    for seed in range(20):
        backend.infer(images(1, seed))
    assert set(opened.state.calls) == {(call, 'cuda')}


def test_a_jetson_shares_its_memory_and_another_gpu_gets_copies(opened):
    opened(integrated=True)
    made = [what for what, _ in opened.state.calls if what.startswith('allocate')]
    assert made == ['allocate host memory'] * 3


def test_another_gpu_has_memory_of_its_own(opened):
    opened(integrated=False)
    made = [what for what, _ in opened.state.calls if what.startswith('allocate')]
    assert made == ['allocate host memory', 'allocate device memory'] * 3


def test_the_gpu_s_things_live_in_one_thread_and_end_in_order(opened, tmp_path):
    backend = opened(three(tmp_path), integrated=False, graphs=True)
    opened.state.calls.clear()
    backend.close()
    assert {thread for _, thread in opened.state.calls} == {'cuda'}
    assert [what for what, _ in opened.state.calls] == [
        *['free graph'] * 3, *['free execution context'] * 3, 'free engine', 'free runtime',
        *['free device memory', 'free host memory'] * 3, 'free stream', 'pop']


def test_a_gpu_that_hangs_does_not_hold_up_the_end_and_is_told_of(opened, log):
    backend, answer = opened(), threading.Event()
    waiting = threading.Thread(target=backend._worker.call, args=(answer.wait,))
    waiting.start()
    backend.close()
    assert 'tiny.onnx: the GPU does not respond' in log.warnings[0]
    answer.set()
    waiting.join()
    backend._worker._thread.join()


def test_results_can_be_looked_at_after_the_end(opened):
    backend = opened()
    boxes = backend.infer(images(1))[0]
    backend.close()
    np.testing.assert_allclose(boxes[0], expected_boxes(), atol=1e-6)
    del boxes  # page-locked memory goes with the last who looks at it, warned of by pycuda
    opened.state.broken_rules = [rule for rule in opened.state.broken_rules
                                 if not rule.startswith('host memory in out-of-thread')]


def test_it_is_fed_by_batches_and_by_one_thread(opened, tmp_path):
    backend = opened(three(tmp_path))
    assert (backend.max_batch, backend.max_concurrency) == (3, 1)


def test_the_detail_names_version_gpu_and_batches(opened, tmp_path):
    assert opened(three(tmp_path), version='10.16').detail == (
        'TensorRT 10.16.1.11 on Orin (SM 8.7), batches of 1 to 3, without CUDA graphs: '
        'cuda-python is not installed')


# graphs

def test_what_runs_is_recorded_once_for_each_batch_size(opened, tmp_path):
    backend = opened(three(tmp_path), graphs=True)
    assert backend.detail.endswith('batches of 1 to 3, with CUDA graphs')
    opened.state.calls.clear()
    backend.infer(images(7))
    assert [what for what, _ in opened.state.calls] == ['launch'] * 3


@pytest.mark.parametrize('call', ['cuStreamBeginCapture', 'cuStreamEndCapture',
                                  'cuGraphInstantiate'])
def test_an_engine_that_cannot_be_recorded_runs_all_the_same_and_says_so(opened, tmp_path, call):
    opened(graphs=True).close()
    driver = import_module('cuda.bindings.driver')
    unsupported = driver.CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    opened.state.failures[call] = [0, unsupported]  # the second batch size
    backend = opened(three(tmp_path))
    assert backend.detail.endswith(
        f'without CUDA graphs: {call} failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED')
    opened.state.calls.clear()
    np.testing.assert_allclose(backend.infer(images(2))[0][0], expected_boxes(), atol=1e-6)
    assert [what for what, _ in opened.state.calls] == ['enqueue 2']


def test_a_cuda_python_for_another_driver_is_not_used(opened, monkeypatch):
    opened(graphs=True).close()

    def missing(hGraph, flags):
        raise RuntimeError('Function "cuGraphInstantiateWithFlags" not found')

    monkeypatch.setattr(import_module('cuda.bindings.driver'), 'cuGraphInstantiate', missing)
    backend = opened()
    assert backend.detail.endswith('cuGraphInstantiate cannot be called: Function '
                                   '"cuGraphInstantiateWithFlags" not found')
    np.testing.assert_allclose(backend.infer(images(1))[0][0], expected_boxes(), atol=1e-6)


def test_a_run_that_tensorrt_refuses_to_record_ends_the_recording(opened, monkeypatch):
    opened(graphs=True).close()
    trt = import_module('tensorrt')
    original = trt.IExecutionContext.execute_async_v3

    def refuse_while_recording(self, stream_handle):
        if import_module('pycuda.driver').GPU.streams[stream_handle]._recorded is not None:
            return self._refuse('operation not permitted when stream is capturing')
        return original(self, stream_handle)

    monkeypatch.setattr(trt.IExecutionContext, 'execute_async_v3', refuse_while_recording)
    backend = opened()
    assert backend.detail.endswith('run the engine: operation not permitted when stream is '
                                   'capturing')
    np.testing.assert_allclose(backend.infer(images(1))[0][0], expected_boxes(), atol=1e-6)


@pytest.mark.parametrize('integrated', [True, False])
def test_a_graph_that_does_nothing_is_not_used(opened, monkeypatch, integrated):
    opened(graphs=True, integrated=integrated).close()
    driver = import_module('cuda.bindings.driver')
    monkeypatch.setattr(driver, 'cuGraphLaunch', lambda hGraphExec, hStream: (0,))
    assert opened().detail.endswith('without CUDA graphs: their results differ')


def test_a_gpu_that_fails_at_the_first_graph_is_not_used(opened, monkeypatch):
    opened(graphs=True).close()
    cuda, driver = import_module('pycuda.driver'), import_module('cuda.bindings.driver')
    original = driver.cuGraphLaunch

    def launch(hGraphExec, hStream):
        opened.state.failures['synchronize'] = [cuda.LaunchError('unspecified launch failure')]
        return original(hGraphExec, hStream)

    monkeypatch.setattr(driver, 'cuGraphLaunch', launch)
    with pytest.raises(BackendError, match='unspecified launch failure'):
        opened()


def test_a_graph_that_is_not_taken_costs_a_frame(opened):
    backend = opened(graphs=True)
    driver = import_module('cuda.bindings.driver')
    opened.state.failures['cuGraphLaunch'] = [driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY]
    with pytest.raises(BackendError, match='tiny.onnx: cuGraphLaunch failed: CUDA_ERROR_OUT_OF_M'):
        backend.infer(images(1))
    np.testing.assert_allclose(backend.infer(images(1))[0][0], expected_boxes(), atol=1e-6)


# what the GPU does in the field

def test_a_frame_without_memory_is_lost_and_the_next_one_answered(opened):
    backend = opened(integrated=False)
    cuda = import_module('pycuda.driver')
    opened.state.failures['memcpy_htod_async'] = [cuda.MemoryError('out of memory')]
    with pytest.raises(BackendError, match=r'tiny.onnx: the GPU has no memory left \(out of mem'):
        backend.infer(images(1))
    np.testing.assert_allclose(backend.infer(images(1))[0][0], expected_boxes(), atol=1e-6)


def test_a_refused_run_is_lost_with_its_reason_and_the_next_one_answered(opened):
    backend = opened()
    opened.state.failures['execute_async_v3'] = ['Error Code 3: no idea']
    with pytest.raises(BackendError, match='could not run the engine: Error Code 3: no idea'):
        backend.infer(images(1))
    np.testing.assert_allclose(backend.infer(images(1))[0][0], expected_boxes(), atol=1e-6)


@pytest.mark.parametrize('kind', ['LaunchError', 'LogicError', 'RuntimeError'])
def test_a_lost_context_says_what_to_do_until_the_model_is_opened_again(opened, kind):
    backend = opened()
    cuda = import_module('pycuda.driver')
    opened.state.failures['synchronize'] = [getattr(cuda, kind)('cuStreamSynchronize failed')]
    for _ in range(2):
        with pytest.raises(BackendError, match='cuStreamSynchronize.*clean the node up and conf'):
            backend.infer(images(1))
    backend.close()
    np.testing.assert_allclose(opened().infer(images(1))[0][0], expected_boxes(), atol=1e-6)


def test_a_context_that_cannot_even_be_released_does_not_stop_the_node(opened):
    backend = opened()
    cuda = import_module('pycuda.driver')
    opened.state.failures['pop'] = [cuda.LogicError('cuCtxPopCurrent failed')]
    opened.state.failures['free'] = [cuda.LogicError('cuMemFree failed')]
    backend.close()
    with pytest.raises(BackendError, match='closed'):
        backend.infer(images(1))


@pytest.mark.parametrize(('call', 'error'), [
    ('mem_alloc', 'MemoryError'), ('pagelocked_empty', 'MemoryError'), ('synchronize',
     'LaunchError'), ('create_execution_context', 'LogicError'),
    ('retain_primary_context', 'LogicError')])
def test_whatever_fails_while_loading_nothing_is_left_on_the_gpu(opened, double, call, error):
    opened(integrated=False).close()
    cuda = import_module('pycuda.driver')
    opened.state.failures[call] = [getattr(cuda, error)(f'{call} failed')] * 9
    with pytest.raises(BackendError, match=f'{call} failed'):
        opened()
    opened.state.failures.clear()
    # the fixture `double` looks at what is left


def test_a_forgotten_close_does_not_abort_the_process(path, tmp_path):
    script = '''
import atexit, sys
sys.path[:0] = sys.argv[1:3]
def judge():  # runs last: registered first
    import pycuda.driver, double_state
    assert not any(pycuda.driver.GPU.stacks.values()), 'pycuda would abort'
    assert double_state.STATE.broken_rules == [], double_state.STATE.broken_rules
    print('clean')
atexit.register(judge)
from helpers.trt_doubles import build_here
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.backends.options import BackendOptions, TrtOptions
from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
from mbv2ssd_ros.backends.trt.backend import TrtBackend
from pathlib import Path
backend = TrtBackend(Path(sys.argv[3]), BackendOptions(trt=TrtOptions(sys.argv[4])),
                     LoadContext(), load_nvidia(), build_here)
'''
    found = subprocess.run(
        [sys.executable, '-c', script, str(DOUBLES), str(ROOT / 'test'), str(path),
         str(tmp_path / 'engines')], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (found.returncode, found.stdout) == (0, 'clean\n'), found.stderr


@pytest.mark.parametrize(('precision', 'told'), [('fp32', True), ('fp16', False)])
def test_who_builds_an_fp32_model_is_told_of_fp16(opened, path, log, precision, told):
    write_tiny_model(path, dataclasses.replace(CONTRACT, precision=precision))
    opened()
    assert told == any('is fp32; a GPU is usually faster with its fp16 copy' in line
                       for line in log.infos)


# the cache

def test_the_second_start_takes_the_kept_engine_and_needs_no_onnxruntime(
        opened, log, monkeypatch):
    opened().close()
    monkeypatch.setitem(sys.modules, 'mbv2ssd_ros.backends.ort', None)
    backend = opened()
    assert len(opened.builds) == 1 and backend.contract == CONTRACT
    assert 'engine loaded (boxes differ by' in log.infos[-1]
    np.testing.assert_allclose(backend.infer(images(1))[0][0], expected_boxes(), atol=1e-6)


def test_a_model_that_is_replaced_while_it_is_read_is_not_built(opened, path, monkeypatch):
    from mbv2ssd_ros.backends import ort

    class Slow(ort.OrtBackend):
        def __init__(self, model_path, options):
            write_tiny_model(path, dataclasses.replace(CONTRACT, arch_fingerprint='other'))
            super().__init__(model_path, options)

    monkeypatch.setattr(ort, 'OrtBackend', Slow)
    with pytest.raises(BackendError, match='tiny.onnx: was changed while it was read'):
        opened()
    assert opened.builds == []
    assert opened().contract.arch_fingerprint == 'other'


def test_another_number_of_cameras_is_another_engine(opened, tmp_path):
    opened().close()
    opened(three(tmp_path)).close()
    assert [request.batch_sizes for request in opened.builds] == [(1,), (1, 2, 3)]
    assert len(list(opened.folder.glob('*.engine'))) == 2


def test_a_changed_model_of_the_same_name_is_another_engine(opened, path):
    opened().close()
    write_tiny_model(path, dataclasses.replace(CONTRACT, arch_fingerprint='other'))
    assert opened().contract.arch_fingerprint == 'other'
    assert len(opened.builds) == 2


def damage(folder, how):
    """Damage the kept engine."""
    engine, manifest = (next(folder.glob(f'*.{suffix}')) for suffix in ('engine', 'json'))
    if how == 'truncated':
        os.truncate(engine, engine.stat().st_size // 2)
    elif how == 'flipped':
        content = bytearray(engine.read_bytes())
        content[len(content) // 2] ^= 1
        engine.write_bytes(content)
    elif how == 'empty':
        engine.write_bytes(b'')
    elif how == 'no manifest':
        manifest.unlink()
    elif how == 'foreign manifest':
        manifest.write_text(manifest.read_text().replace('10.3.0', '10.3.1'))
    elif how == 'wrong contract':
        manifest.write_text(manifest.read_text().replace('input_size_hw', 'input_size'))


@pytest.mark.parametrize('how', ['truncated', 'flipped', 'empty', 'no manifest',
                                 'foreign manifest', 'wrong contract'])
def test_a_damaged_engine_is_put_aside_and_built_again_once(opened, log, how):
    opened().close()
    damage(opened.folder, how)
    np.testing.assert_allclose(opened().infer(images(1))[0][0], expected_boxes(), atol=1e-6)
    assert len(opened.builds) == 2
    assert list(opened.folder.glob('*.quarantined'))
    assert len(log.warnings) == 1 and 'is not used: ' in log.warnings[0]
    opened().close()
    assert len(opened.builds) == 2  # healed


def test_an_engine_that_tensorrt_refuses_is_built_again_once_and_then_given_up(opened, log):
    opened().close()
    opened.state.load = 'refuse'
    with pytest.raises(BackendError, match='tiny.onnx: TensorRT could not load the engine: Engine '
                                           'plan file is generated on an incompatible device'):
        opened()
    assert len(opened.builds) == 2
    assert len(log.warnings) == 1 and 'incompatible device' in log.warnings[0]


def test_an_engine_for_which_there_is_no_memory_is_not_to_blame(opened, log):
    opened().close()
    opened.state.load = 'no memory'
    with pytest.raises(BackendError, match='tiny.onnx: TensorRT could not load .*OutOfMemory'):
        opened()
    assert len(opened.builds) == 1 and log.warnings == []
    opened.state.load = ''
    opened().close()
    assert len(opened.builds) == 1


def test_a_gpu_that_fails_does_not_cost_the_engine(opened, log):
    opened().close()
    cuda = import_module('pycuda.driver')
    opened.state.failures['synchronize'] = [cuda.LaunchError('unspecified launch failure')]
    with pytest.raises(BackendError, match='tiny.onnx: the GPU failed .*unspecified launch failu'):
        opened()
    opened().close()
    assert len(opened.builds) == 1 and log.warnings == []


@pytest.mark.parametrize('profile', [0, 1])
def test_what_was_made_before_a_failure_goes_in_order(opened, tmp_path, profile, monkeypatch):
    opened(three(tmp_path)).close()
    trt = import_module('tensorrt')
    original = trt.IExecutionContext.set_input_shape
    monkeypatch.setattr(
        trt.IExecutionContext, 'set_input_shape', lambda self, name, shape:
        shape[0] != profile + 1 and original(self, name, shape))
    opened.state.calls.clear()
    with pytest.raises(BackendError, match=f'could not set the shape of batches of {profile + 1}'):
        opened(three(tmp_path))
    freed = [what for what, _ in opened.state.calls if what.startswith('free')]
    first = freed[:freed.index('free stream') + 1]  # of the kept engine; others are tried next
    assert first == [
        *['free execution context'] * (profile + 1), 'free engine', 'free runtime',
        *['free host memory'] * 3, 'free stream']


@pytest.mark.parametrize('wrong_by', [0.01, float('nan')])
def test_an_engine_that_computes_something_else_is_neither_used_nor_kept(opened, wrong_by):
    with pytest.raises(BackendError, match=(
            r'tiny.onnx: TensorRT built an engine that disagrees with ONNX Runtime: '
            r'boxes differ by (0.01|nan) at most.*fp32 allows')):
        opened(wrong_by=wrong_by)
    assert not list(opened.folder.glob('*.engine'))
    assert len(opened.builds) == 1


def test_a_folder_that_others_can_write_to_is_refused_before_a_build(opened):
    opened.folder.mkdir()
    opened.folder.chmod(0o777)
    with pytest.raises(BackendError, match='can be written by others.*chmod 700'):
        opened()
    assert opened.builds == []


def test_a_read_only_folder_is_used_and_what_is_missing_built_each_time(
        opened, tmp_path, log, monkeypatch):
    opened().close()
    before = {path: path.stat().st_mtime_ns for path in opened.folder.iterdir()}
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    opened().close()
    assert len(opened.builds) == 1
    for count in (2, 3):
        opened(three(tmp_path)).close()
        assert len(opened.builds) == count
    assert len(log.warnings) == 2
    assert 'is read-only, so the engine will be built again' in log.warnings[0]
    assert {path: path.stat().st_mtime_ns for path in opened.folder.iterdir()} == before


def test_a_full_disk_costs_the_next_start_and_not_this_one(opened, log, monkeypatch):
    from mbv2ssd_ros.backends.trt.cache import EngineCache

    def full(*arguments):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(EngineCache, 'keep', full)
    np.testing.assert_allclose(opened().infer(images(1))[0][0], expected_boxes(), atol=1e-6)
    assert 'the engine cannot be kept (No space left on device)' in log.warnings[0]


def test_a_later_build_gets_the_times_that_the_first_one_measured(opened, tmp_path):
    given = []

    def build(model, request, timing, loading):
        given.append(timing)
        return build_here(model, request, timing, loading)

    opened(build=build).close()
    opened(three(tmp_path), build=build).close()
    assert given == [b'', b'T10.3.0+']


# the self-test

@pytest.fixture
def with_self_test(path, monkeypatch):
    """Give the model a self-test, and take ONNX Runtime away."""
    add_self_test(path)
    monkeypatch.setitem(sys.modules, 'mbv2ssd_ros.backends.ort', None)


@pytest.mark.usefixtures('with_self_test')
def test_a_new_and_a_kept_engine_prove_themselves_without_onnxruntime(opened, log, tmp_path):
    for what in ('engine built in', 'engine loaded'):
        backend = opened(three(tmp_path))
        assert what in log.infos[-1] and re.search(
            r'self-test passed with [\d.e-]+ % of what fp32 allows', log.infos[-1])
        assert backend.self_test.within(Difference(*[1e-6] * 6))
        backend.close()
    assert len(opened.builds) == 1 and not any('has no self-test' in line for line in log.lines)
    manifest, = opened.folder.glob('*.json')
    assert 'self-test passed' in manifest.read_text() and 'strongest' not in manifest.read_text()


@pytest.mark.usefixtures('with_self_test')
@pytest.mark.parametrize('wrong_by', [0.01, float('nan')])
def test_a_new_engine_that_fails_the_self_test_is_neither_used_nor_kept(opened, wrong_by):
    with pytest.raises(BackendError, match=(
            'tiny.onnx: (fails its self-test with TensorRT 10.3.0 on Orin on .*: boxes of the '
            "strongest priors 0.01 .fp32 allows 0.002|.* values of output 'boxes' are not fini)")):
        opened(wrong_by=wrong_by)
    assert not list(opened.folder.glob('*.engine')) and len(opened.builds) == 1


@pytest.mark.usefixtures('with_self_test')
def test_a_kept_engine_that_fails_the_self_test_is_put_aside_and_built_again(
        opened, log, monkeypatch):
    opened().close()
    from mbv2ssd_ros.backends.trt.engine import Engine
    original = Engine.run

    def run(self, images):
        boxes, scores = original(self, images)
        return (boxes + np.float32(0.01), scores) if len(opened.builds) == 1 else (
            boxes, scores)

    monkeypatch.setattr(Engine, 'run', run)
    np.testing.assert_allclose(opened().infer(images(1))[0][0], expected_boxes(), atol=1e-6)
    assert len(opened.builds) == 2 and list(opened.folder.glob('*.quarantined'))
    assert 'is not used: ' in log.warnings[0] and 'fails its self-test' in log.warnings[0]


@pytest.mark.usefixtures('with_self_test')
@pytest.mark.parametrize('size', [1, 2, 3])
def test_every_batch_size_proves_itself(opened, tmp_path, monkeypatch, size):
    from mbv2ssd_ros.backends.trt.engine import Engine
    original = Engine.run

    def run(self, images):
        boxes, scores = original(self, images)
        return boxes, scores + np.float32(0.1 * (len(images) == size))

    monkeypatch.setattr(Engine, 'run', run)
    with pytest.raises(BackendError, match='fails its self-test'):
        opened(three(tmp_path))


def test_without_a_self_test_the_log_says_once_how_the_model_gets_one(opened, log):
    for _ in range(2):
        log.infos.clear()
        backend = opened()
        assert backend.self_test is None
        backend.close()
        line, = [line for line in log.infos if 'has no self-test' in line]
        assert '`mbv2ssd_train self-test --model ' in line


# the model

def test_another_precision_than_was_asked_for_is_refused_before_a_build(opened, tmp_path):
    options = cached_in(tmp_path / 'engines', precision='fp16')
    with pytest.raises(ConfigError, match=(
            'tiny.onnx: its precision is fp32, the parameter precision asks for fp16')):
        opened(options)
    assert opened.builds == []
    opened().close()
    with pytest.raises(ConfigError, match='asks for fp16'):  # also where an engine is kept
        opened(options)


# choosing it

def test_auto_takes_tensorrt_where_it_is_and_says_why(tensorrt_here, path, log):
    tensorrt_here()
    backend = open_backend('auto', path, BackendOptions(), LoadContext(log))
    backend.close()
    assert backend.name == 'tensorrt'
    assert log.infos[0] == (
        'backend auto takes tensorrt: TensorRT 10.3.0 and a GPU (Orin) are available')


def test_auto_takes_onnxruntime_elsewhere_and_says_why(path, log, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert open_backend('auto', path, BackendOptions(), LoadContext(log)).name == 'onnxruntime'
    assert log.infos[0] == (
        'backend auto takes onnxruntime: TensorRT is not installed for this Python')
    assert log.warnings == []


@pytest.mark.parametrize(('settings', 'missing', 'message'), [
    ({'devices': 0}, None, 'CUDA sees no GPU; check CUDA_VISIBLE_DEVICES'),
    ({}, 'pycuda.driver', 'pycuda cannot be imported .*pip install pycuda'),
])
def test_tensorrt_that_cannot_be_used_is_an_error_and_for_auto_a_warning(
        tensorrt_here, path, log, monkeypatch, settings, missing, message):
    tensorrt_here(**settings)
    import_module('tensorrt')  # the double needs the other one
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=message):
        open_backend('tensorrt', path, BackendOptions())
    assert open_backend('auto', path, BackendOptions(), LoadContext(log)).name == 'onnxruntime'
    assert len(log.warnings) == 1 and not any('backend auto' in line for line in log.infos)


def test_without_tensorrt_the_error_names_the_package_of_jetpack(path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(BackendError, match=(
            'backend tensorrt: tensorrt cannot be imported .*python3-libnvinfer.*'
            '--system-site-packages.*Or set another backend')):
        open_backend('tensorrt', path, BackendOptions())


def test_a_driver_that_does_not_start_is_named(tensorrt_here, path):
    state = tensorrt_here()
    cuda = import_module('pycuda.driver')
    state.failures['init'] = [cuda.RuntimeError('cuInit failed: unknown error')]
    with pytest.raises(BackendError, match='CUDA cannot be initialised .cuInit failed: unknown'):
        open_backend('tensorrt', path, BackendOptions())
