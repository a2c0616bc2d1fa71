"""No program of the package lets ONNX Runtime write a device id or queue events."""

import os
import signal
import subprocess
import sys

import pytest

from helpers.needs import need
from helpers.paths import ROOT
from helpers.tiny_model import write_tiny_model

BARE = '''
import sys
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
'''


@pytest.fixture
def home(tmp_path):
    """Make an empty home, of a user outside continuous integration."""
    folder = tmp_path / 'home'
    folder.mkdir()
    return folder


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Write the tiny model."""
    need('onnx')
    return str(write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx'))


def environment(home):
    """Return this environment with another home, without what switches the telemetry off."""
    kept = {name: value for name, value in os.environ.items()
            if name not in ('CI', 'ORT_DISABLE_TELEMETRY', 'XDG_CACHE_HOME')}
    return {**kept, 'HOME': str(home), 'ROS_LOG_DIR': str(home.parent / 'log')}


def written(home):
    """Return the names of the files of telemetry."""
    return sorted(path.name for path in home.rglob('*')
                  if path.is_file() and 'Microsoft' in path.parts)


def run(home, *arguments):
    done = subprocess.run([sys.executable, *arguments], env=environment(home), cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alone_onnxruntime_leaves_a_device_id(home, model):
    onnxruntime = need('onnxruntime')
    if tuple(map(int, onnxruntime.__version__.split('.')[:2])) < (1, 29):
        pytest.skip('this ONNX Runtime has no telemetry on Linux')
    run(home, '-c', BARE, model)
    assert 'deviceid' in written(home)


@pytest.mark.parametrize('package', ['mbv2ssd_ros', 'mbv2ssd_train'])
def test_a_package_that_is_imported_first_leaves_none(home, model, package):
    run(home, '-c', f'import {package}' + BARE, model)
    assert written(home) == []


def test_a_tool_leaves_none(home, model):
    run(home, '-m', 'mbv2ssd_ros.tools.compare_models', model, '--rounds', '1')
    assert written(home) == []


def test_training_leaves_none(home, model):
    need('torch')
    run(home, '-m', 'mbv2ssd_train', 'validate', model, model)
    assert written(home) == []


@pytest.mark.ros
def test_the_node_leaves_none(home, model, tmp_path):
    need('rclpy')
    need('vision_msgs')
    log = tmp_path / 'node.log'
    with log.open('w') as output:
        node = subprocess.Popen(
            [sys.executable, '-m', 'mbv2ssd_ros.ros.node', '--ros-args', '-p',
             f'model_path:={model}', '-p', 'autostart:=true'],
            env=environment(home), stdout=output, stderr=output, start_new_session=True)
    try:
        while 'on onnxruntime' not in log.read_text():
            assert node.poll() is None, log.read_text()
            try:
                node.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    finally:
        node.send_signal(signal.SIGINT)
        node.wait(30)
    assert written(home) == []


def test_this_process_sends_none():
    assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'
