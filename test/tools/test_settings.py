"""Settings classes as command lines."""

from dataclasses import dataclass, FrozenInstanceError
from pathlib import Path
import re

import pytest

from mbv2ssd_ros.core.arguments import whole
from mbv2ssd_ros.tools.cli.settings import argument_parser, flag, full_topic, option, read


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a program made up here."""

    path: Path = option(type=Path, help='a file')
    count: int = option('--count', type=whole, default=3, group='pace', help='default %(default)s')
    fast: bool = option('--fast', default=False, action='store_true', group='pace')
    topic: list = option('--topic', default=[], action='append', group='what')
    frame_id: str = option('--frame-id', default='camera')
    loop: bool = flag('--loop', 'again')
    ros_args: tuple = ()


def parsed(*arguments):
    """Read a command line."""
    return read(Settings, arguments, 'tool', 'What it does.', exclusive='pace')


def test_defaults_are_those_of_the_class_and_are_not_shared():
    found = parsed('x')
    assert found == Settings(path=Path('x'), ros_args=[])
    assert (found.count, found.topic, found.frame_id, found.loop) == (3, [], 'camera', False)
    assert Settings(path=Path('x')).topic is not Settings(path=Path('x')).topic


def test_options_fill_the_fields_of_their_names():
    found = parsed('x', '--topic', '/a', '--topic', '/b', '--frame-id', 'lens', '--loop')
    assert (found.topic, found.frame_id, found.loop) == (['/a', '/b'], 'lens', True)
    with pytest.raises(FrozenInstanceError):
        found.loop = False


@pytest.mark.parametrize(('arguments', 'own', 'ros'), [
    (('x', '--ros-args', '-r', 'a:=b'), 3, ['--ros-args', '-r', 'a:=b']),
    (('x', '--ros-args', '-r', 'a:=b', '--', '--count', '5'), 5,
     ['--ros-args', '-r', 'a:=b', '--'])])
def test_ros_arguments_are_set_apart_up_to_a_lone_double_dash(arguments, own, ros):
    found = parsed(*arguments)
    assert (found.count, found.ros_args) == (own, ros)


def test_exclusive_options_are_refused_together(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed('x', '--count', '2', '--fast')
    assert ended.value.code == 2
    assert 'not allowed with argument --count' in capsys.readouterr().err


@pytest.mark.parametrize(('argument', 'hint'), [
    ('--frame_id', 'did you mean --frame-id?'), ('--topics', 'did you mean --topic?'),
    ('--coun', 'did you mean --count?'), ('--xyzzy', 'unrecognized arguments: --xyzzy\n')])
def test_an_unknown_option_is_refused_with_the_nearest_one(argument, hint, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed('x', f'{argument}=3' if argument == '--coun' else argument)
    assert ended.value.code == 2 and hint in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed('--version')
    assert ended.value.code == 0 and re.match(r'\d+\.\d+', capsys.readouterr().out)


@pytest.mark.parametrize(('topic', 'transport', 'full'), [
    ('/a', 'raw', '/a'), ('/a', 'compressed', '/a/compressed'),
    ('/a/compressed', 'compressed', '/a/compressed'), ('/a/compressed', 'raw', '/a/compressed')])
def test_a_transport_names_the_topic_as_image_transport_does(topic, transport, full):
    assert full_topic(topic, transport) == full


def test_groups_are_headings_of_the_help():
    shown = argument_parser(Settings, 'tool').format_help()
    assert '\nwhat:\n' in shown and '\npace:\n' in shown and 'default 3' in shown
