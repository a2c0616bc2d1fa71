"""What the command lines owe a machine without ROS: help, and errors that teach."""

import importlib
import subprocess
import sys

import pytest

from mbv2ssd_ros.tools import view_detections

PROGRAMS = ('play_images', 'view_detections', 'demo', 'benchmark', 'evaluate_bag',
            'label_bag', 'build_engine', 'doctor', 'play_bag', 'evaluate_live',
            'compare_models')


def test_no_program_imports_ros_or_torch_before_it_runs():
    modules = ', '.join(f'mbv2ssd_ros.tools.{name}' for name in PROGRAMS)
    found = subprocess.run(
        [sys.executable, '-c', f'import sys, {modules}\n'
         'print(*{"rclpy", "sensor_msgs", "vision_msgs", "torch"} & set(sys.modules))'],
        capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ''


@pytest.mark.parametrize('name', PROGRAMS)
def test_help_says_what_the_program_does(name, capsys):
    module = importlib.import_module(f'mbv2ssd_ros.tools.{name}')
    with pytest.raises(SystemExit) as ended:
        module.main(['--help'])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert module.__doc__.strip().splitlines()[0] in shown
    assert f'usage: {name}' in shown


@pytest.mark.parametrize('name', ['demo', 'benchmark'])
def test_a_domain_beyond_the_ports_of_dds_is_refused(name, capsys):
    module = importlib.import_module(f'mbv2ssd_ros.tools.{name}')
    with pytest.raises(SystemExit):
        module.main(['--domain-id', '300'])
    assert "--domain-id: '300' is not a domain; choose 0 to 101" in capsys.readouterr().err


def test_a_machine_without_ros_is_told_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, 'rclpy', None)  # as if it were not installed
    assert view_detections.main(['--output', str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert 'view_detections: error: this Python' in error and 'has no rclpy' in error
    assert 'make setup' in error
