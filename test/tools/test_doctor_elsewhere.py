"""The doctor beside real nodes, in containers, as another user, in a broken environment."""

import json
import os
import re
import subprocess
import sys

import pytest

from helpers.paths import ROOT
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.tools.cli.processes import Program

pytestmark = pytest.mark.ros
# another user who may read everything, as this environment may lie where only root comes
NOBODY = ('setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--inh-caps',
          '+dac_read_search', '--ambient-caps', '+dac_read_search')
CONTAINER = ('unshare', '--pid', '--fork', '--mount-proc')


def possible(*before):
    """Skip where the kernel or the user's rights forbid to start a program so."""
    try:
        tried = subprocess.run([*before, 'true'], capture_output=True, text=True, check=False)
    except FileNotFoundError as err:
        pytest.skip(str(err))
    if tried.returncode:
        pytest.skip(f'{before[0]}: {tried.stderr.strip()}')
    return before


@pytest.fixture
def shared(graph):
    """Let programs of the graph use shared memory."""
    if not os.access('/dev/shm', os.W_OK):
        pytest.skip('/dev/shm cannot be written')
    del graph.environment['FASTDDS_BUILTIN_TRANSPORTS']
    return graph


def start_node(graph, tmp_path, *arguments):
    """Start a detector; returns when it is active."""
    model, log = write_tiny_model(tmp_path / 'tiny.onnx'), tmp_path / 'node.log'
    graph._programs.append(Program(
        'mbv2ssd_ros.ros.node', ['--ros-args', '-p', 'autostart:=true', '-p',
                                 f'model_path:={model}', *arguments], graph.environment, log))
    graph.wait_for(lambda: 'tiny.onnx: ' in log.read_text(), 'model of the node')


def examined(graph, tmp_path, *before, options=(), **environment):
    """Run the doctor; returns exit code, its report and the last line it printed."""
    out = tmp_path / 'out'
    out.mkdir()
    out.chmod(0o777)
    for folder in out.parents[:4]:  # another user gets there
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o001)
    environment = {**graph.environment, 'HOME': str(out), 'ROS_LOG_DIR': str(out), **environment}
    ended = subprocess.run(
        [*before, sys.executable, '-m', 'mbv2ssd_ros.tools.doctor', '--quick', '--json',
         str(out / 'report.json'), *options], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=120, check=False)
    assert 'Traceback' not in ended.stdout + ended.stderr
    report = json.loads((out / 'report.json').read_text())
    assert ended.stdout.splitlines()[-1].startswith('doctor: ')
    return ended.returncode, {found['subject']: found for found in report['findings']}


def test_files_of_nodes_outside_a_container_are_no_leftovers(shared, tmp_path):
    start_node(shared, tmp_path)
    inside = possible(*CONTAINER)
    _, found = examined(shared, tmp_path, *inside)
    assert found['shared memory']['level'] == 'ok'
    assert found['shared memory']['details'] == []
    assert re.search(r'has [1-9]\d* files of running nodes and none',
                     found['shared memory']['text'])


def test_a_detector_of_another_user_is_seen_and_the_reason_named(shared, tmp_path):
    # Fast DDS announces by multicast, which LOCALHOST switches off
    shared.environment.pop('ROS_AUTOMATIC_DISCOVERY_RANGE', None)
    start_node(shared, tmp_path)
    _, found = examined(shared, tmp_path, *possible(*NOBODY))
    assert found['node /detector']['text'] == 'is active'
    assert found['users']['level'] == 'warning'
    assert 'as one user with one /dev/shm' in (
        found['users']['next_step'])


def test_shared_memory_of_docker_is_too_small_for_the_profile_of_large_images(shared, tmp_path):
    small = possible('unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=64m tmpfs '
                     '/dev/shm && exec "$@"', '-')
    profile = str(ROOT / 'config' / 'fastdds_large_images.xml')
    code, found = examined(shared, tmp_path, *small, FASTRTPS_DEFAULT_PROFILES_FILE=profile,
                           FASTDDS_DEFAULT_PROFILES_FILE='')
    assert code == 1
    assert '--shm-size=1g or --ipc=host' in found['Fast DDS profile']['next_step']


def test_a_camera_outside_a_container_without_its_shared_memory_is_told(shared, tmp_path):
    small = possible('unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=64m tmpfs '
                     '/dev/shm && exec "$@"', '-')
    player = shared.start('play_images', ROOT / 'config/demo/images', '--loop', '--no-wait')
    shared.wait_for(lambda: 'on /camera/image_raw at' in player.log_file.read_text(), 'camera')
    _, found = examined(shared, tmp_path, *small)
    assert 'from a node without a name; nothing arrived' in found['/camera/image_raw']['text']
    assert '--ipc=host' in found['/camera/image_raw']['next_step']


def test_a_node_with_a_remapped_topic_is_as_well_as_any(graph, tmp_path):
    from sensor_msgs.msg import Image
    start_node(graph, tmp_path, '-r', 'camera/image_raw:=/lens/image')
    publisher = graph.node.create_publisher(Image, '/lens/image', 5)
    timer = graph.node.create_timer(0.05, lambda: publisher.publish(Image(
        height=2, width=3, step=9, encoding='rgb8', data=bytes(18))))
    doctor = graph.start('doctor', '--quick', '--json', tmp_path / 'report.json')
    graph.wait_for(lambda: doctor.process.poll() is not None, 'end of the doctor')
    graph.node.destroy_timer(timer)
    found = {found['subject']: found for found in json.loads(
        (tmp_path / 'report.json').read_text())['findings']}
    assert found['camera camera (/detector)']['level'] == 'ok'
    assert '/lens/image fits' in found['camera camera (/detector)']['text']


@pytest.mark.parametrize(('variable', 'value', 'subject', 'level', 'text'), [
    ('RMW_IMPLEMENTATION', 'rmw_none_cpp', 'ROS 2', 'error', 'rmw_none_cpp, which is not inst'),
    ('ROS_DOMAIN_ID', '300', 'ROS domain', 'error', 'ROS_DOMAIN_ID is 300, expected 0 to 101'),
    ('ROS_DOMAIN_ID', 'abc', 'ROS domain', 'error', 'ROS_DOMAIN_ID is abc, expected 0 to 101'),
    ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF', 'ROS domain', 'warning', 'no other node is heard')])
def test_an_environment_without_ros_nodes_ends_no_report(
        graph, tmp_path, variable, value, subject, level, text):
    code, found = examined(graph, tmp_path, **{variable: value})
    assert (found[subject]['level'], code) == (level, int(level == 'error'))
    assert text in found[subject]['text']
    assert {'memory', 'model', 'cameras'} <= found.keys()  # before and after it


def test_wrong_ros_arguments_are_a_line(graph, tmp_path):
    code, found = examined(graph, tmp_path, options=('--ros-args', '-r', 'nonsense'))
    assert code == 1 and '-r nonsense' in found['cameras']['text']
