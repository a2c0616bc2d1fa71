"""What `make setup` decides before it installs anything; installing itself is every other test."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
import re
import sys

import pytest

from helpers.paths import ROOT

SETUP = ROOT / '.ci' / 'setup'
MINE = '{}.{}'.format(*sys.version_info)


@pytest.fixture
def load(monkeypatch):
    """Return a function that loads .ci/setup with an environment."""
    for name in ('ROS', 'EXTRAS', 'AMENT_PREFIX_PATH', 'ROS_DISTRO', 'PYTHONPATH'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)

    def load(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        loader = SourceFileLoader('mbv2ssd_setup', str(SETUP))
        module = module_from_spec(spec_from_loader('mbv2ssd_setup', loader))
        loader.exec_module(module)
        return module
    return load


@pytest.fixture
def sourced(tmp_path):
    """Make an installation of ROS 2 with empty modules; return the environment it asks for."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'rclpy').touch()
    modules = tmp_path / 'site-packages'
    for name in ('rclpy', 'vision_msgs', 'vision_msgs/msg'):
        (modules / name).mkdir(parents=True)
        (modules / name / '__init__.py').touch()
    return {'AMENT_PREFIX_PATH': tmp_path, 'PYTHONPATH': modules, 'ROS_DISTRO': 'humble'}


def pins(name):
    text = (SETUP.parent / name).read_text(encoding='utf-8')
    return set(re.findall(r'^([\w.-]+)==', text, re.MULTILINE))


def test_jazzy_goes_to_venv_and_kilted_beside_it_without_training(load):
    jazzy = load()
    assert (jazzy.VENV.name, jazzy.EXTRAS) == ('.venv', 'train,dev')
    kilted = load(ROS='kilted')
    assert (kilted.VENV.name, kilted.EXTRAS) == ('.venv-kilted', 'dev')
    assert load(ROS='jazzy').VENV == jazzy.VENV


@pytest.mark.parametrize('distro', ['jazzy', 'kilted'])
def test_every_wheel_that_is_named_is_pinned_for_its_distribution(load, distro):
    setup = load(ROS=distro)
    assert [path.name for path in setup.CONSTRAINTS] == ['constraints.txt', f'{distro}.txt']
    assert {f'ros-{distro}-rclpy', 'ros-rmw-fastrtps-cpp'} <= set(setup.ROS_WHEELS)
    assert set(setup.ROS_WHEELS) <= pins('constraints.txt') | pins(f'{distro}.txt')


def test_a_distribution_without_wheels_is_refused_by_name(load):
    setup = load(ROS='foxy')
    with pytest.raises(setup.SetupError, match='ROS=foxy: there are wheels of jazzy and kilted'):
        setup.set_up()


def test_a_sourced_installation_is_used_with_a_python_that_can_import_it(load, sourced):
    setup = load(**sourced)
    python, system_ros = setup.choose_python()
    assert system_ros
    assert setup.version_of(python) in setup.PYTHONS
    assert [step[0] for step in setup.plan(system_ros=True)] == ['package']


def test_without_one_the_steps_begin_with_the_wheels(load):
    setup = load()
    python, system_ros = setup.choose_python()
    assert not system_ros
    assert setup.version_of(python) == MINE  # that which runs us comes first
    assert [step[0] for step in setup.plan(system_ros=False)] == [
        'ros', 'vision_msgs', 'mbv2ssd_msgs', 'package']


def test_a_sourced_installation_without_vision_msgs_says_what_to_install(load, sourced):
    (Path(sourced['PYTHONPATH']) / 'vision_msgs' / 'msg' / '__init__.py').write_text('1 / 0')
    setup = load(**sourced)
    with pytest.raises(setup.SetupError, match='install ros-humble-vision-msgs'):
        setup.choose_python()


def test_wheels_are_not_mixed_with_another_sourced_distribution(load, sourced):
    setup = load(ROS='kilted', **sourced)
    with pytest.raises(setup.SetupError, match='ROS=kilted, but .* humble is sourced'):
        setup.choose_python()


def test_an_activated_environment_of_ours_is_not_a_sourced_installation(load, sourced):
    (Path(sourced['AMENT_PREFIX_PATH']) / 'pyvenv.cfg').touch()
    setup = load(**sourced)
    assert not setup.ament_has('rclpy')


def test_what_is_of_ros_is_pinned_for_a_distribution_only():
    ros = pins('jazzy.txt') | pins('kilted.txt')
    assert all(name.startswith('ros-') for name in ros)
    assert not any(name.startswith('ros-') for name in pins('constraints.txt'))
