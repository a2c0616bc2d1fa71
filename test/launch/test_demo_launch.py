"""The demo as a launch file: it shows detections and ends; all files explain themselves."""


from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
import pytest

from helpers.paths import ROOT

pytestmark = [pytest.mark.ros, pytest.mark.needs('launch_ros')]
LAUNCH = ROOT / 'launch'
LAUNCH_FILES = [LAUNCH / f'{name}.launch.py' for name in ('demo', 'detector', 'multi_camera')]


def source(path):
    return PythonLaunchDescriptionSource(str(path))


@pytest.fixture
def images(tmp_path):
    """Paint a red and a black image."""
    import cv2
    import numpy as np
    folder = tmp_path / 'images'
    folder.mkdir()
    cv2.imwrite(str(folder / '1.png'), np.full((64, 96, 3), (0, 0, 255), np.uint8))
    cv2.imwrite(str(folder / '2.png'), np.zeros((64, 96, 3), np.uint8))
    return folder


def played(**arguments):
    """Run the demo to its end; return its exit code and those of its programs."""
    ended = {}
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        RegisterEventHandler(OnProcessExit(on_exit=lambda event, context: ended.update(
            {event.process_name.partition('-')[0]: event.returncode}))),
        IncludeLaunchDescription(
            source(LAUNCH / 'demo.launch.py'), launch_arguments=arguments.items())]))
    return service.run(), ended


def test_the_demo_draws_what_it_finds_and_ends(tmp_path, images, tiny_model):
    code, ended = played(
        images=str(images), rate='20', frames='4', model_path=str(tiny_model),
        output=str(tmp_path / 'out'), namespace='demo')
    assert code == 0
    assert ended == {'play_images': 0, 'detector_node': 0, 'view_detections': 0}
    drawn = sorted(path.name for path in (tmp_path / 'out').glob('*.png'))
    assert drawn == [f'frame_{number:04d}.png' for number in (1, 2, 3, 4)]


def test_the_demo_does_not_wait_for_images_that_are_not_there(tmp_path, tiny_model):
    _, ended = played(
        images=str(tmp_path / 'nowhere'), model_path=str(tiny_model), namespace='demo',
        output=str(tmp_path / 'out'))
    assert ended['play_images'] == 1
    assert ended['view_detections'] != 1  # it was interrupted; 1 is the end of its patience


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name.partition('.')[0])
def test_every_argument_is_described_and_has_a_default(path):
    arguments = source(path).try_get_launch_description_without_context().get_launch_arguments()
    assert {'model_path', 'namespace', 'autostart', 'log_level'} <= {a.name for a in arguments}
    assert [a.name for a in arguments if len(a.description) < 10 or a.default_value is None] == []
