"""The real node says at its start what it does, and refuses what ROS would ignore."""

import os
import subprocess
import sys

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture
from helpers.needs import need

pytestmark = pytest.mark.ros


def started_with(*arguments):
    """Start the node with arguments that it refuses; return the last line of its output."""
    need('rclpy')
    ended = subprocess.run(
        [sys.executable, '-m', 'mbv2ssd_ros.ros.node', *arguments], stderr=subprocess.PIPE,
        text=True, env=os.environ, timeout=60)
    assert ended.returncode == 1
    assert 'Traceback' not in ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(('arguments', 'right'), [
    (['--params-file', 'my.yaml'], '--ros-args --params-file my.yaml'),
    (['autostart:=true'], '--ros-args -p autostart:=true'),
    (['-p', 'autostart:=true'], '--ros-args -p autostart:=true'),
    (['autostart:=true', '--ros-args', '-r', '__ns:=/robot1'], '--ros-args -p autostart:=true'),
    (['--ros-args', '-p', 'autostart:=true', '--', 'model.onnx'], '--ros-args model.onnx'),
])
def test_stray_arguments_are_refused_with_the_right_spelling(arguments, right):
    assert started_with(*arguments).endswith(f'All arguments are those of ROS and follow '
                                             f'--ros-args, as in: {right}')


def test_remappings_outside_of_ros_args_still_work():
    need('rclpy')
    from mbv2ssd_ros.ros.start import check_arguments
    check_arguments(['__ns:=/robot1', 'camera/image_raw:=/front', '--ros-args', '-p', 'a:=b'])


def wait_for_log(detector, text):
    detector.peer.wait_for(lambda: text in detector.log(), lambda: f'{text}: {detector.log()}')


def test_a_node_without_autostart_says_what_activates_it_and_warns(start_detector):
    detector = start_detector()
    wait_for_log(detector, f'{detector.name} is unconfigured; model: ')
    line = next(text for text in detector.log().splitlines() if 'is unconfigured' in text)
    assert f'cameras: camera on {detector.topic("camera/image_raw")} (raw)' in line
    assert f'ros2 lifecycle set {detector.name} configure, then activate' in line
    status, _ = detector.diagnosis('detector', lambda s, v: s.level == b'\1', 'warning')
    assert status.message.startswith('unconfigured for ')
    detector.activate()
    detector.diagnosis('detector', lambda s, v: s.level == b'\0', 'level OK')


def test_a_node_with_autostart_says_that_it_is_active(start_detector):
    detector = start_detector(autostart=True, camera__transport='compressed')
    wait_for_log(detector, f'{detector.name} is active; model: ')
    assert f'camera on {detector.topic("camera/image_raw/compressed")} (comp' in detector.log()
    assert 'To activate it' not in detector.log()


@pytest.mark.parametrize(('key', 'used'), [
    ('/my_detector', False), ('detector', False), ('/other/detector', False), ('/**', True),
    ('/**/detector', True)])
def test_a_parameter_file_for_another_node_is_a_warning(start_detector, tmp_path, key, used):
    path = tmp_path / 'robot.yaml'
    path.write_text(f'{key}:\n  ros__parameters:\n    score_threshold: 0.9\n')
    detector = start_detector('--params-file', str(path), autostart=True)
    wait_for_log(detector, 'is active')
    assert detector.get('score_threshold') == (0.9 if used else 0.35)
    warning = f'{path}: no section is for the node {detector.name}; its sections: '
    assert (warning not in detector.log()) == used
    if not used:
        assert f'name the section {detector.name} or /**' in detector.log()


def test_a_file_that_only_rcl_can_read_is_a_warning(tmp_path):
    need('rclpy')
    from types import SimpleNamespace

    from mbv2ssd_ros.ros.start import unused_files
    path = tmp_path / 'robot.yaml'
    path.write_text('/**: {ros__parameters: {name: !unknown x}}\n')
    node = SimpleNamespace(get_fully_qualified_name=lambda: '/detector')
    problems = list(unused_files(['--ros-args', '--params-file', str(path)], node))
    assert len(problems) == 1
    assert problems[0].startswith(f'{path}: cannot be read as YAML: ')


@pytest.mark.parametrize(('name', 'meant'), [
    ('image_topic', 'camera.image_topic'), ('transport', 'camera.transport'),
    ('modelpath', 'model_path')])
def test_a_near_name_is_an_error_with_the_right_one(start_detector, name, meant):
    detector = start_detector('-p', f'{name}:=x')
    assert not detector.change_state('configure')
    assert f'there is no parameter {name!r}; did you mean {meant!r}?' in detector.log()


def test_a_name_that_is_less_near_is_a_warning_with_a_suggestion(start_detector):
    detector = start_detector('-p', 'threshold:=0.5')
    assert detector.change_state('configure'), detector.log()
    assert "'threshold' is not one of this node and is not used; did you mean " in detector.log()
    assert "'score_threshold'?" in detector.log()


def test_the_service_takes_whole_numbers_and_empty_lists(start_detector):
    from rclpy.node import Node
    if not hasattr(Node, 'add_pre_set_parameters_callback'):
        pytest.skip('rclpy of Humble checks the type first')
    detector = start_detector()
    assert detector.set(score_threshold=1, max_age_ms=200, class_allow=[]) == ''
    assert (detector.get('score_threshold'), detector.get('max_age_ms')) == (1.0, 200.0)
    assert list(detector.get('class_allow')) == ['']
    assert 'Wrong parameter type' in detector.set(score_threshold='high')
    detector.activate()
    assert detector.set(score_threshold=0, atomically=True) == ''
    assert detector.get('score_threshold') == 0.0


@pytest.mark.parametrize('atomically', [False, True])
def test_new_cameras_and_their_sections_in_one_configure(start_detector, atomically):
    detector = start_detector()
    assert detector.set(
        atomically, cameras=['left', 'right'], left__qos_reliability='reliable',
        left__detections_topic='found') == ''
    detector.activate()
    assert detector.get('left.detections_topic') == 'found'
    detector.peer.wait_for(
        lambda: detector.peer.node.count_publishers(detector.topic('found')), 'publisher')
    camera = CameraPeer(detector, 'right')
    assert camera.ask(image_msg(picture())).detections == []
