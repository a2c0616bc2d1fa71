"""Building in a child process, on doubles; and what is asked of each version of TensorRT."""

import errno
from importlib import import_module
import os
from pathlib import Path
import subprocess
import sys
import time

import pytest

from helpers.crowding import crowding
from helpers.paths import DOUBLES, ROOT
from helpers.tiny_model import write_tiny_model
from helpers.trt_doubles import ListLog
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.backends.trt import build as engine_build
from mbv2ssd_ros.backends.trt import build_process
from mbv2ssd_ros.backends.trt.build import build_engine, BuildRequest
from mbv2ssd_ros.backends.trt.build_process import build_in_child
from mbv2ssd_ros.backends.trt.nvidia import load_nvidia, primary_context
from mbv2ssd_ros.core.errors import BackendError

HERE = Path(__file__).parent
REQUEST = BuildRequest('tiny.onnx', 'fp32', (32, 48), (1, 2))


@pytest.fixture
def model(tmp_path):
    """Return the bytes of the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx').read_bytes()


@pytest.fixture
def log():
    """Return a log to look at."""
    return ListLog()


def build(model, request=REQUEST, timing=b'', on_phase=lambda phase: None):
    """Build in this process; returns what the double says about the engine, and the result."""
    nvidia = load_nvidia()
    with primary_context(nvidia.cuda):
        built = build_engine(nvidia, model, request, timing, on_phase)
    return nvidia.trt.read_plan(built.plan)[0], built


# what is asked of TensorRT

@pytest.mark.parametrize('version', ['8.6', '10.3', '10.16', '11.4'])
def test_each_batch_size_has_a_profile_of_exactly_that_size(double, model, version):
    double(version=version)
    about, _ = build(model)
    assert about['profiles'] == [
        {'images': [[size, 32, 48, 3]] * 3} for size in (1, 2)]
    assert (about['level'], about['workspace']) == (3, 512 * 2 ** 20)


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
@pytest.mark.parametrize('version', ['10.3', '10.16', '11.4'])
def test_from_10_on_the_types_of_the_model_count_and_no_flag(double, model, version, precision):
    double(version=version)
    about, _ = build(model, BuildRequest('tiny.onnx', precision, (32, 48), (1,)))
    assert about['typed'] and about['flags'] == [] and about['fp32_layers'] == []


@pytest.mark.parametrize(('precision', 'flags'), [
    ('fp32', []), ('int8', ['INT8']), ('fp16', ['FP16', 'OBEY_PRECISION_CONSTRAINTS'])])
def test_8_6_is_asked_for_the_precision(double, model, precision, flags):
    double(version='8.6')
    about, _ = build(model, BuildRequest('tiny.onnx', precision, (32, 48), (1,)))
    assert not about['typed'] and about['flags'] == flags


def test_on_8_6_what_follows_the_convolutions_stays_in_fp32(double, tmp_path):
    import onnx
    path = write_tiny_model(tmp_path / 'conv.onnx')
    found = onnx.load(path)
    # a convolution in place of the scale: nchw -> unit
    found.graph.node[2].CopyFrom(onnx.helper.make_node(
        'Conv', ['nchw', 'kernel'], ['unit'], name='conv'))
    import numpy as np
    kernel = np.eye(3, dtype=np.float32)[:, :, None, None] / 255
    found.graph.initializer.append(onnx.numpy_helper.from_array(kernel, 'kernel'))
    double(version='8.6')
    about, _ = build(found.SerializeToString(), BuildRequest('c', 'fp16', (32, 48), (1,)))
    assert sorted(about['fp32_layers']) == sorted(
        ['pooled', 'two', 'columns', 'objects', 'sum', 'background', 'scores', 'nothing',
         'boxes'])


def test_measured_times_are_used_and_given_back(double, model):
    double()
    assert build(model)[1].timing == b'T10.3.0+'
    assert build(model, timing=b'T10.3.0+')[1].timing == b'T10.3.0++'


def test_times_of_another_tensorrt_are_left_alone(double, model):
    double()
    assert build(model, timing=b'T8.6.1+++')[1].timing == b'T10.3.0+'


def test_the_outer_phases_are_told_where_there_are_any(double, model):
    double(version='8.6')
    phases = []
    build(model, on_phase=phases.append)
    assert phases == []
    double(version='11.4')
    build(model, on_phase=phases.append)
    assert phases == ['Building Engine']


def test_little_memory_is_an_error_before_the_build(double, model):
    double(integrated=False, free_mib=600)
    with pytest.raises(BackendError, match='600 MiB of memory are free and a build may need 1024'):
        build(model)


def test_a_jetson_is_asked_for_what_the_system_has(double, monkeypatch):
    double(integrated=True, free_mib=1)
    nvidia = load_nvidia()
    with primary_context(nvidia.cuda):
        assert engine_build.free_memory_mib(nvidia.cuda) > 50


@pytest.mark.parametrize(('trouble', 'message'), [
    ('refuse', 'could not read the model: Assertion failed: the test wants it refused'),
    ('no memory', 'could not build an engine: .*out of memory')])
def test_a_refusal_carries_what_tensorrt_logged(double, model, trouble, message):
    double(build=trouble)
    with pytest.raises(BackendError, match=message):
        build(model)


def test_a_builder_that_cannot_be_made_is_our_error(double, model):
    double()
    nvidia = load_nvidia()
    with primary_context(nvidia.cuda):
        import_module('pycuda.driver').GPU.initialised = False
        with pytest.raises(BackendError, match='could not make a builder: .*returned nullptr'):
            engine_build.create_or_raise(
                nvidia.trt.Builder, nvidia.logger, logger=nvidia.logger, what='make a builder')
        import_module('pycuda.driver').GPU.initialised = True


# the child

def test_the_child_builds_what_is_built_here(double, model, log):
    double(version='11.4')
    here = build(model)[1]
    assert build_in_child(model, REQUEST, b'', LoadContext(log)) == here


def test_a_child_that_crashes_is_an_error_and_not_our_crash(double, model, log):
    double(build='crash')
    with pytest.raises(BackendError, match=(
            'tiny.onnx: no engine was built: its process was killed by signal 11')):
        build_in_child(model, REQUEST, b'', LoadContext(log))


def test_a_machine_without_room_for_a_child_says_so(double, model, log, monkeypatch):
    double()

    def no_memory(*arguments, **settings):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, 'Popen', no_memory)
    with pytest.raises(BackendError, match='tiny.onnx: no engine was built: .*Cannot allocate'):
        build_in_child(model, REQUEST, b'', LoadContext(log))


def test_nothing_is_written_to_a_disk(double, model, log, monkeypatch, tmp_path):
    double(build='refuse')
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'none'))
    with pytest.raises(BackendError, match='Assertion'):
        build_in_child(model, REQUEST, b'', LoadContext(log))


def test_what_the_child_complains_of_is_passed_on(double, model, log):
    double(build='refuse')
    with pytest.raises(BackendError, match=(
            'tiny.onnx: no engine was built: TensorRT could not read the model: Assertion')):
        build_in_child(model, REQUEST, b'', LoadContext(log))


def test_a_child_without_gpu_says_so(double, model, log):
    double(devices=0)
    with pytest.raises(BackendError, match='no engine was built: .*CUDA sees no GPU'):
        build_in_child(model, REQUEST, b'', LoadContext(log))


def test_a_child_that_fails_in_another_way_shows_its_last_words(double, model, log, monkeypatch):
    double()
    monkeypatch.setattr(build_process, '_CHILD', 'import sys; sys.exit("a word")')
    with pytest.raises(BackendError, match='ended with code 1; its last output: a word'):
        build_in_child(model, REQUEST, b'', LoadContext(log))


def is_running(pid):
    """Tell whether there is a process that is not waiting to be buried."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def children(pid):
    """Return the processes that one has started and not waited for."""
    found = []
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat') as stream:
                    fields = stream.read().rpartition(')')[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry))
    return found


def test_progress_is_said_every_few_seconds_and_the_build_ends_when_it_is_no_longer_wanted(
        double, model, log, monkeypatch):
    double(build='hang')
    monkeypatch.setattr(build_process, 'PROGRESS_S', 0.2)
    before = set(children(os.getpid()))
    with pytest.raises(BackendError, match='tiny.onnx: building the engine was cancelled'):
        build_in_child(model, REQUEST, b'', LoadContext(log, lambda: any(
            'Building Engine' in line for line in log.lines)))
    assert log.lines[-1].startswith('tiny.onnx: building the engine, ')
    assert set(children(os.getpid())) == before


def test_a_build_ends_with_the_process_that_wanted_it_however_that_ends(double, tmp_path):
    double(build='hang')
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    script = f'''
from pathlib import Path
from test_engine_build import REQUEST
from mbv2ssd_ros.backends.trt import build_process
from mbv2ssd_ros.backends.base import LoadContext
class Log:
    def info(self, message): print(message, flush=True)
build_process.PROGRESS_S = 0.1
build_process.build_in_child(Path({str(path)!r}).read_bytes(), REQUEST, b'', LoadContext(Log()))
'''
    folders = map(str, (DOUBLES, ROOT, HERE, HERE.parent))
    parent = subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(folders)})
    while 'Building Engine' not in parent.stdout.readline().decode():
        assert parent.poll() is None
    child, = children(parent.pid)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while is_running(child):
        assert time.monotonic() < deadline, 'it goes on'
        time.sleep(0.02)


def test_five_seconds_pass_at_most_between_two_lines():
    assert build_process.PROGRESS_S + build_process._POLL_S <= 5


def test_a_cancelled_build_ends_at_once(double, model, log):
    double(build='hang')
    asked = []

    def cancelled():
        asked.append(time.monotonic())
        return len(asked) > 3

    with pytest.raises(BackendError, match='cancelled'):
        build_in_child(model, REQUEST, b'', LoadContext(log, cancelled))
    assert (time.monotonic() - asked[-1]) / crowding() < 1.0
