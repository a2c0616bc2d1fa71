"""The launch file brings the node up, active, and takes it down again."""

from pathlib import Path
import time

import pytest

pytest.importorskip('launch_pytest', reason='needs launch_pytest (ROS 2, on no package registry)')
pytest.importorskip('launch_ros', reason='needs launch_ros (ROS 2, on no package registry)')
from ament_index_python.packages import get_packages_with_prefixes  # noqa: E402
from launch import LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription, RegisterEventHandler  # noqa: E402
from launch.event_handlers import OnProcessExit  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
import launch_pytest  # noqa: E402
from launch_pytest.actions import ReadyToTest  # noqa: E402
import rclpy  # noqa: E402
from tiny_model import write_tiny_model  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif('mbv2ssd_ros' not in get_packages_with_prefixes(),
                       reason='needs mbv2ssd_ros in the ament index: build it with colcon')]
LAUNCH_FILE = Path(__file__).parents[2] / 'launch' / 'detector.launch.py'
TIMEOUT_S = 30.0
exit_codes = []


@launch_pytest.fixture
def detector(tmp_path):
    """Launch the node with a tiny model in a namespace."""
    arguments = {'model_path': str(write_tiny_model(tmp_path / 'tiny.onnx')),
                 'namespace': 'robot', 'image_topic': '/lens/image'}
    return LaunchDescription([
        RegisterEventHandler(OnProcessExit(
            on_exit=lambda event, context: exit_codes.append(event.returncode))),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items()),
        ReadyToTest()])


@pytest.fixture
def peer():
    """Join the graph."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('peer', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def wait_for(condition, what):
        deadline = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            assert time.monotonic() < deadline, f'no {what}'
            executor.spin_once(timeout_sec=0.05)
        return value
    node.wait_for = wait_for
    yield node
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()


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
