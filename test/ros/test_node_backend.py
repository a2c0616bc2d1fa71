"""The node on TensorRT: on doubles, and without it."""

import json
import os
from pathlib import Path
import time

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture
from helpers.needs import need
from helpers.paths import DOUBLES

pytestmark = pytest.mark.ros



def on_doubles(folder, **double):
    """Return an environment in which the node finds doubles of NVIDIA's libraries."""
    paths = [str(DOUBLES), os.environ.get('PYTHONPATH', '')]
    return {'PYTHONPATH': os.pathsep.join(filter(None, paths)), 'XDG_CACHE_HOME': str(folder),
            'MBV2SSD_DOUBLE': json.dumps(double)}


def wait_for_log(detector, text):
    """Wait until the node has written a text."""
    detector.peer.wait_for(lambda: text in detector.log(), f'{text!r} in the log')


def test_tensorrt_that_is_not_there_is_a_failed_configure_that_names_the_next_step(
        start_detector):
    need('rclpy')
    try:
        import tensorrt  # noqa: F401
        pytest.skip('this machine has TensorRT')
    except ImportError:
        pass
    detector = start_detector(backend='tensorrt')
    assert not detector.change_state('configure')
    assert detector.state() == 'unconfigured'
    log = detector.log()
    assert 'configure failed: backend tensorrt: tensorrt cannot be imported' in log
    assert 'python3-libnvinfer' in log
    assert detector.set(backend='auto') == ''
    assert detector.change_state('configure')
    wait_for_log(detector, 'backend auto takes onnxruntime: TensorRT is not installed for this P')


def test_a_precision_that_the_model_has_not_is_a_failed_configure(start_detector):
    detector = start_detector(precision='int8')
    assert not detector.change_state('configure')
    wait_for_log(detector, 'its precision is fp32, the parameter precision asks for int8')


def test_two_cameras_are_answered_by_an_engine_that_was_built_for_two(start_detector, tmp_path):
    detector = start_detector(
        environment=on_doubles(tmp_path), cameras='[camera, other]',
        other__qos_reliability='reliable')
    detector.activate()
    for text in ('backend auto takes tensorrt: TensorRT 10.3.0 and a GPU (Orin) are available',
                 'building a TensorRT engine for batches of 1 to 2 on Orin', 'engine built in',
                 'on tensorrt (TensorRT 10.3.0 on Orin (SM 8.7), batches of 1 to 2, with'):
        wait_for_log(detector, text)
    cameras = [CameraPeer(detector, name) for name in ('camera', 'other')]
    for column, camera in enumerate(cameras):
        found = camera.ask(image_msg(picture(red=[(0, column, 255)]))).detections
        assert [round(one.bbox.center.position.x) for one in found] == [4 + 8 * column]
    assert len(list((tmp_path / 'mbv2ssd').glob('*.engine'))) == 1
    code, seconds = detector.stop()
    assert code == 0 and seconds < 2.0, detector.log()


@pytest.mark.parametrize('autostart', ['true', 'false'])
def test_sigint_while_an_engine_is_built_ends_the_node_and_the_build(
        start_detector, tmp_path, autostart):
    from lifecycle_msgs.srv import ChangeState
    detector = start_detector(
        environment=on_doubles(tmp_path, build='hang'), autostart=autostart)
    if autostart == 'false':
        client = detector.peer.node.create_client(ChangeState, f'{detector.name}/change_state')
        detector.peer.wait_for(client.service_is_ready, 'service change_state')
        request = ChangeState.Request()
        request.transition.label = 'configure'
        client.call_async(request)
    wait_for_log(detector, 'building the engine, ')  # said after the first seconds
    pid = detector.program.process.pid
    child = next(int(one) for task in Path(f'/proc/{pid}/task').iterdir()
                 for one in (task / 'children').read_text().split())
    code, seconds = detector.stop()
    assert code == 0 and seconds < 2.0, detector.log()
    deadline = time.monotonic() + 2
    while Path(f'/proc/{child}').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f'/proc/{child}').exists()
