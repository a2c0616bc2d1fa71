"""The launch file brings the node up, active, and takes it down again."""

from pathlib import Path
import time

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import launch_config
import launch_pytest
from launch_pytest.actions import ReadyToTest
import pytest

from helpers.paths import ROOT

pytestmark = [pytest.mark.ros, pytest.mark.needs('launch_ros')]
LAUNCH_FILE = ROOT / 'launch' / 'detector.launch.py'
exit_codes = []


def launched(**arguments):
    """Describe the launch of the node in a namespace."""
    exit_codes.clear()
    arguments = {'namespace': 'robot', **arguments}
    return [
        RegisterEventHandler(OnProcessExit(
            on_exit=lambda event, context: exit_codes.append(event.returncode))),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items())]


@launch_pytest.fixture
def detector(tiny_model):
    """Launch the node with a tiny model for a camera elsewhere."""
    return LaunchDescription([
        *launched(model_path=str(tiny_model), image_topic='/lens/image'), ReadyToTest()])


@launch_pytest.fixture
def compressed(tiny_model):
    """Launch the node with a tiny model for a compressed camera."""
    return LaunchDescription([
        *launched(model_path=str(tiny_model), image_topic='/lens/image/compressed',
                  transport='compressed'), ReadyToTest()])


@pytest.mark.launch(fixture=detector)
def test_it_gets_active_answers_and_ends_well(detector, peer):
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray
    answers = []
    peer.create_subscription(Detection2DArray, '/robot/camera/detections', answers.append, 10)
    publisher = peer.create_publisher(Image, '/lens/image', 1)
    peer.wait_for(publisher.get_subscription_count, 'subscription: the node is not active')
    image = Image(height=32, width=48, step=144, encoding='rgb8')
    image.data.frombytes(bytes([255, 0, 0] * 32 * 48))  # red all over
    peer.create_timer(0.1, lambda: publisher.publish(image))
    answer = peer.wait_for(lambda: answers, 'detections')[0]
    assert {d.results[0].hypothesis.class_id for d in answer.detections} == {'red'}
    yield
    assert exit_codes == [0]


@pytest.mark.launch(fixture=detector)
def test_who_configures_it_again_decides_whether_it_gets_active(detector, peer):
    from lifecycle_msgs.srv import ChangeState, GetState

    def call(kind, name, **fields):
        client = peer.create_client(kind, f'/robot/detector/{name}')
        peer.wait_for(client.service_is_ready, name)
        request = kind.Request()
        if fields:
            request.transition.label = fields['label']
        future = client.call_async(request)
        peer.wait_for(future.done, f'answer of {name}')
        return future.result()

    def state():
        return call(GetState, 'get_state').current_state.label
    peer.wait_for(lambda: state() == 'active', 'active node')
    for label in ('deactivate', 'cleanup', 'configure'):
        assert call(ChangeState, 'change_state', label=label).success
    end = time.monotonic() + 0.5  # time for an event to do wrong
    peer.wait_for(lambda: time.monotonic() > end or state() != 'inactive', 'end of the wait')
    assert state() == 'inactive'


@pytest.mark.launch(fixture=compressed)
def test_a_compressed_camera_needs_no_parameter_file(compressed, peer):
    from sensor_msgs.msg import CompressedImage
    publisher = peer.create_publisher(CompressedImage, '/lens/image/compressed', 1)
    peer.wait_for(publisher.get_subscription_count, 'subscription to compressed images')


@pytest.mark.parametrize(('argument', 'value'), [
    ('params_file', '/nowhere.yaml'), ('autostart', 'ture'), ('log_level', 'loud'),
    ('transport', 'pigeon'), ('transport', 'compressed')])  # of an image_topic that is not given
def test_what_cannot_be_meant_starts_nothing(argument, value):
    service = LaunchService()
    service.include_launch_description(LaunchDescription(launched(**{argument: value})))
    assert service.run() == 1
    assert exit_codes == []
    log = (Path(launch_config.log_dir) / 'launch.log').read_text()
    assert argument in log and f"'{value}'" in log.replace('"', "'")
