"""What the process of the node does around the node."""

from pathlib import Path
import platform
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from helpers.needs import need

FREED_BYTES = 8 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_a_large_freed_buffer_stays_with_the_process():
    # the second buffer of that size needs no new pages: no page faults
    script = f'''
import resource
from mbv2ssd_ros.ros.memory import keep_large_buffers
assert keep_large_buffers()
del_me = bytearray({FREED_BYTES}); del del_me
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
again = bytearray({FREED_BYTES})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
'''
    faults = int(subprocess.check_output([sys.executable, '-c', script]))
    assert faults < FREED_BYTES // 4096 // 10


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_unused_memory_can_still_be_given_back():
    script = '''
from pathlib import Path
from mbv2ssd_ros.ros.memory import give_back_unused, keep_large_buffers
def resident_kb():
    return int(Path('/proc/self/status').read_text().split('VmRSS:')[1].split()[0])
keep_large_buffers()
blocks = [bytearray(100_000) for _ in range(300)]
blocks.clear()
before = resident_kb()
give_back_unused()
print(before - resident_kb())
'''
    given_back_kb = int(subprocess.check_output([sys.executable, '-c', script]))
    assert given_back_kb > 20_000


def test_what_is_loaded_is_out_of_the_collectors_sight_and_garbage_is_gone():
    script = '''
import gc, weakref
from mbv2ssd_ros.ros.memory import freeze_loaded
class Node: pass
loaded, dropped = Node(), Node()
freeze_loaded()
print(any(one is loaded for one in gc.get_objects()))
dropped.itself, gone = dropped, weakref.ref(dropped)
del dropped  # a cycle of frozen objects, as an earlier model may leave one
gc.collect()
print(gone() is None)
freeze_loaded()
print(gone() is None)
'''
    assert subprocess.check_output([sys.executable, '-c', script]).split() == [
        b'False', b'False', b'True']


def test_an_error_in_a_callback_costs_the_callback_and_not_the_node():
    need('rclpy')
    from rclpy.executors import ExternalShutdownException

    from mbv2ssd_ros.ros.detector_node import spin
    events = [ValueError('boom'), ValueError('boom'), ExternalShutdownException()]

    def serve():
        raise events.pop(0)
    said = []
    spin(SimpleNamespace(spin=serve, context=SimpleNamespace(ok=lambda: True)),
         lambda kind, message: said.append(message))
    assert not events
    assert [('ValueError: boom' in message) for message in said] == [True, True]


def test_errors_whose_text_is_new_every_time_are_said_once_in_a_while():
    need('rclpy')
    from mbv2ssd_ros.ros.detector_node import spin
    from mbv2ssd_ros.ros.pipeline import Pipeline
    from mbv2ssd_ros.ros.throttle import ThrottledLog
    errors, said = [ValueError(f'{number} boxes') for number in range(3)], []
    context = SimpleNamespace(ok=lambda: bool(errors))

    def serve():
        raise errors.pop()
    spin(SimpleNamespace(spin=serve, context=context), ThrottledLog(said.append, period_s=60))
    assert len(said) == 1
    pipeline = SimpleNamespace(
        _node=SimpleNamespace(context=SimpleNamespace(ok=lambda: True)),
        _log_error=ThrottledLog(said.append, period_s=60))
    for number in range(3):
        Pipeline._report_error(pipeline, ValueError(f'{number} boxes'))
    assert len(said) == 2


def test_an_error_because_the_context_is_gone_is_the_end():
    need('rclpy')
    from mbv2ssd_ros.ros.detector_node import spin

    def serve():
        raise RuntimeError('context is invalid')
    spin(SimpleNamespace(spin=serve, context=SimpleNamespace(ok=lambda: False)), pytest.fail)


def test_a_signal_while_modules_are_loaded_is_the_end_at_once():
    need('rclpy')
    with subprocess.Popen(
            [sys.executable, '-X', 'importtime', '-m', 'mbv2ssd_ros.ros.node'],
            stderr=subprocess.PIPE, text=True) as process:
        status = Path(f'/proc/{process.pid}/status')
        while not int(status.read_text().split('SigCgt:')[1].split()[0], 16) >> 14 & 1:
            time.sleep(0.005)  # until it has a handler of SIGTERM
        process.send_signal(signal.SIGTERM)
        loaded = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert 'mbv2ssd_ros.ros.memory' in loaded
    assert 'mbv2ssd_ros.ros.detector_node' not in loaded  # which reports when it is complete


def test_a_parameter_file_that_cannot_be_read_is_named_without_a_traceback(tmp_path):
    need('rclpy')
    broken = tmp_path / 'broken.yaml'
    broken.write_text('/**:\n  ros__parameters: [')
    ended = subprocess.run(
        [sys.executable, '-m', 'mbv2ssd_ros.ros.node', '--ros-args', '--params-file', str(broken)],
        stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert 'Traceback' not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith('detector_node cannot start: RCLError: ') and str(broken) in last


def test_a_bad_value_of_a_parameter_of_rclpy_is_named_without_a_traceback():
    need('rclpy')
    ended = subprocess.run(
        [sys.executable, '-m', 'mbv2ssd_ros.ros.node', '--ros-args', '-p', 'use_sim_time:=5'],
        stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert 'Traceback' not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith('detector_node cannot start: ') and "'use_sim_time' to '5'" in last


@pytest.mark.parametrize('step', ['__init__', 'open'])  # of configure, of activate
def test_a_signal_half_way_through_a_transition_is_no_failure(tiny_model, step):
    script = f'''
import os, signal, sys, time
import rclpy
from mbv2ssd_ros.ros import node, pipeline
step = pipeline.Camera.{step}
def interrupted(camera, *args):
    os.kill(os.getpid(), signal.SIGINT)
    while rclpy.ok():
        time.sleep(0.01)
    step(camera, *args)
pipeline.Camera.{step} = interrupted
sys.exit(node.main(sys.argv[1:]))
'''
    ended = subprocess.run(
        [sys.executable, '-c', script, '--ros-args', '-p', 'autostart:=true', '-p',
         f'model_path:={tiny_model}'], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 0
    assert 'Traceback' not in ended.stderr
