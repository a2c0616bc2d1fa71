"""A bag goes through the node that was launched, and every image of it is accounted for."""

import json
from pathlib import Path
import sys

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import launch_config
import pytest

from helpers.bag_world import (
    compressed,
    FRONT,
    images,
    picture,
    raw,
    REAR,
    six_pictures,
    stamp,
    write_bag,
)
from helpers.paths import ROOT

pytestmark = [pytest.mark.ros, pytest.mark.needs('launch_ros')]
LAUNCH_FILE = ROOT / 'launch' / 'evaluate.launch.py'


def launched(**arguments):
    """Run the launch file to its end; return its exit code and those of its processes."""
    ended = {}
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        RegisterEventHandler(OnProcessExit(on_exit=lambda event, context: ended.update(
            {event.process_name.partition('-')[0]: event.returncode}))),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(LAUNCH_FILE)),
                                 launch_arguments=arguments.items())]))
    return service.run(), ended


def test_two_cameras_one_with_a_damaged_image(tmp_path, tiny_model):
    front, rear = images(six_pictures(), FRONT), images(six_pictures(), REAR, compressed)
    damaged = raw(picture(), stamp(2))
    damaged.encoding = 'martian'
    front[2] = (FRONT, front[2][1], damaged)
    bag = write_bag(tmp_path / 'bag', sorted(front + rear, key=lambda item: item[1]))
    code, ended = launched(bag=str(bag), model_path=str(tiny_model), namespace='robot',
                           rate='answered', output=str(tmp_path / 'live.json'))
    assert code == 0
    assert ended == {'play_bag': 0, 'evaluate_live': 0, 'detector_node': 0}
    found = json.loads((tmp_path / 'live.json').read_text())['cameras']
    figures = ('sent', 'lost_before_node', 'dropped', 'published', 'lost_after_node', 'arrived')
    assert {name: [camera[figure] for figure in figures] for name, camera in found.items()} == {
        'front': [6, 0, {'undecodable': 1}, 5, 0, 5], 'rear': [6, 0, {}, 6, 0, 6]}
    assert found['front']['detections_topic'] == '/robot/front/detections'


def test_ros2_bag_play_plays_where_it_is_installed(tmp_path, tiny_model, monkeypatch):
    bag = write_bag(tmp_path / 'bag', images(six_pictures(), FRONT))
    (tmp_path / 'ros2bag.py').touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    fake = tmp_path / 'bin' / 'ros2'  # takes the arguments of `ros2 bag play` and plays
    fake.parent.mkdir()
    fake.write_text(
        f'#!{sys.executable}\nimport sys\nfrom mbv2ssd_ros.tools.play_bag import main\n'
        f'assert sys.argv[1:] == ["bag", "play", {str(bag)!r}, "--rate", "2.0", "--delay", "2", '
        f'"--topics", {FRONT!r}], sys.argv\n'
        f'sys.exit(main([{str(bag)!r}, "--rate", "2", "--topic", {FRONT!r}, "--reliable"]))\n')
    fake.chmod(0o755)
    monkeypatch.setenv('PATH', str(fake.parent), prepend=':')
    code, ended = launched(bag=str(bag), model_path=str(tiny_model), rate='2.0',
                           output=str(tmp_path / 'live.json'))
    assert (code, ended) == (0, {'ros2': 0, 'evaluate_live': 0, 'detector_node': 0})
    front = json.loads((tmp_path / 'live.json').read_text())['cameras']['front']
    assert front['sent'] == 6 == front['received'] + front['lost_before_node']
    assert front['latency_ms'] is None  # the stamps are those of the recording


@pytest.mark.parametrize(('arguments', 'message'), [
    ({}, 'bag is empty'), ({'player': 'ros1'}, "player is 'ros1', expected auto, ros2"),
    ({'player': 'ros2', 'rate': 'answered'}, 'does not wait for answers')])
def test_what_cannot_be_done_is_an_error_at_once(tmp_path, arguments, message):
    bag = write_bag(tmp_path / 'bag', images(six_pictures()))
    if arguments:
        arguments = {'bag': str(bag), **arguments}
    code, ended = launched(**arguments)
    assert code == 1 and ended == {}
    assert message in (Path(launch_config.log_dir) / 'launch.log').read_text()


def test_every_argument_is_described_and_has_a_default():
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    arguments = source.try_get_launch_description_without_context().get_launch_arguments()
    assert {'bag', 'rate', 'player', 'output', 'model_path', 'namespace'} <= {
        argument.name for argument in arguments}
    assert [argument.name for argument in arguments
            if len(argument.description) < 10 or argument.default_value is None] == []
