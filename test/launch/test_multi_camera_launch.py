"""One node serves several cameras by launch, and says what it takes."""


from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
import launch_pytest
from launch_pytest.actions import ReadyToTest
import pytest

from helpers.paths import ROOT

pytestmark = [pytest.mark.ros, pytest.mark.needs('launch_ros')]
LAUNCH_FILE = ROOT / 'launch' / 'multi_camera.launch.py'


def launched(**arguments):
    """Describe the launch of the node."""
    return LaunchDescription([
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items()),
        ReadyToTest()])


@launch_pytest.fixture
def as_the_file_says(tiny_model):
    """Launch the node for the cameras of the shipped parameter file."""
    return launched(model_path=str(tiny_model), namespace='robot')


@launch_pytest.fixture
def with_names(tiny_model):
    """Launch the node for other cameras."""
    return launched(model_path=str(tiny_model), cameras='left, right,top')


def red_image():
    from sensor_msgs.msg import Image
    image = Image(height=32, width=48, step=144, encoding='rgb8')
    image.data.frombytes(bytes([255, 0, 0] * 32 * 48))
    return image


def red_jpeg():
    import cv2
    import numpy as np
    from sensor_msgs.msg import CompressedImage
    image = CompressedImage(format='jpeg')
    image.data.frombytes(cv2.imencode(
        '.jpg', np.full((32, 48, 3), (0, 0, 255), np.uint8))[1].tobytes())
    return image


def answer_of(peer, name, image, image_topic):
    """Play a camera until it is answered; return the classes of its first detections."""
    from vision_msgs.msg import Detection2DArray
    answers = []
    peer.create_subscription(Detection2DArray, f'{name}/detections', answers.append, 10)
    publisher = peer.create_publisher(type(image), f'{name}/{image_topic}', 1)
    timer = peer.create_timer(0.1, lambda: publisher.publish(image))
    peer.wait_for(lambda: answers, f'detections of {name}')
    peer.destroy_timer(timer)
    return {d.results[0].hypothesis.class_id for d in answers[0].detections}


@pytest.mark.launch(fixture=as_the_file_says)
def test_a_raw_and_a_compressed_camera(peer):
    assert answer_of(peer, '/robot/front', red_image(), 'image_raw') == {'red'}
    assert answer_of(peer, '/robot/rear', red_jpeg(), 'image_raw/compressed') == {'red'}


@pytest.mark.launch(fixture=with_names)
def test_the_cameras_can_be_named_on_the_command_line(peer):
    for name in ('left', 'right', 'top'):
        assert answer_of(peer, f'/{name}', red_image(), 'image_raw') == {'red'}
