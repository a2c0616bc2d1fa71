"""Without rclpy's private wait set the real node receives its images by rclpy's executor."""

import os

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture

pytestmark = pytest.mark.ros
# Python runs this at its start. rclpy's own modules have the wait set already.
SITECUSTOMIZE = '''
import rclpy.executors
import rclpy.impl.implementation_singleton as singleton

class WithoutWaitSet:
    def __getattr__(self, name):
        if name == 'WaitSet':
            raise AttributeError("no attribute 'WaitSet'")
        return getattr(real, name)

real, singleton.rclpy_implementation = singleton.rclpy_implementation, WithoutWaitSet()
'''


@pytest.fixture(scope='module')
def detector(start_detector, tmp_path_factory):
    """Activate a node whose rclpy has no wait set, with two cameras."""
    folder = tmp_path_factory.mktemp('site')
    (folder / 'sitecustomize.py').write_text(SITECUSTOMIZE)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get('PYTHONPATH')]))
    node = start_detector(environment={'PYTHONPATH': path}, cameras='[left, right]',
                          left__qos_reliability='reliable', camera__qos_reliability=None)
    node.activate()
    return node


def test_images_are_answered_and_one_line_says_how(detector):
    left = CameraPeer(detector, 'left')
    answer = left.ask(image_msg(picture(red=[(0, 1, 255)])))
    assert len(answer.detections) == 1
    lines = [line for line in detector.log().splitlines() if 'WaitSet' in line]
    assert len(lines) == 1, detector.log()
    assert "received by rclpy's executor" in lines[0]


def test_it_stops_and_starts_again(detector):
    assert detector.change_state('deactivate'), detector.log()
    assert detector.change_state('activate'), detector.log()
    right = CameraPeer(detector, 'right', reliable=False)
    assert len(right.ask(image_msg(picture(green=[(1, 0, 255)]))).detections) == 1
