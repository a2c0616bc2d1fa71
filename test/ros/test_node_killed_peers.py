"""Cameras, subscribers and nodes are killed while images flow; the others keep running."""

from collections import Counter
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

import pytest

from helpers.paths import ROOT
from helpers.shared_memory import FOLDER, stale_files

pytestmark = pytest.mark.ros

IMAGES = ROOT / 'config/demo/images'
CAMERAS = ('front', 'rear')
SUBSCRIBER = '''
import sys
import rclpy
from vision_msgs.msg import Detection2DArray
rclpy.init()
node = rclpy.create_node('subscriber')
for name in ('front', 'rear'):
    node.create_subscription(Detection2DArray, f'{sys.argv[1]}/{name}/detections',
                             lambda message: print(message.header.frame_id, flush=True), 10)
rclpy.spin(node)
'''


class World:
    """A node with two cameras and a subscriber, each a process of its own."""

    def __init__(self, detector, folder, environment):
        self.detector, self._folder, self._processes = detector, folder, {}
        self._environment = {**os.environ, **environment}
        self._said_before = 0  # characters of the node's log
        self.start(*CAMERAS, 'subscriber')
        self.expect_heard(*CAMERAS)

    def start(self, *names):
        """Start cameras or the subscriber."""
        for name in names:
            command = ['-c', SUBSCRIBER, self.detector.namespace] if name == 'subscriber' else [
                '-m', 'mbv2ssd_ros.tools.play_images', str(IMAGES), '--topic',
                self.detector.topic(f'{name}/image_raw'), '--rate', '15', '--size', '320x240',
                '--loop', '--no-wait', '--frame-id', name]
            with (self._folder / f'{name}.log').open('w') as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, *command], stdout=log, stderr=log, start_new_session=True,
                    env=self._environment)

    def kill(self, *names):
        """Kill some of them at once; return their files in shared memory."""
        self._said_before = len(self.detector.log())
        killed = [self._processes.pop(name) for name in names]
        files = set().union(*(owned(process.pid) for process in killed))
        for process in killed:
            process.kill()
        for process in killed:
            process.wait()
        return files

    def heard(self):
        """Return how many detection messages the subscriber has had of each camera."""
        return Counter((self._folder / 'subscriber.log').read_text().split())

    def expect_heard(self, *cameras, count=10):
        """Wait until the subscriber has had so many more messages of these cameras."""
        before = self.heard()
        self.wait_for(
            lambda: all(self.heard()[name] >= before[name] + count for name in cameras),
            f'{count} detections of {cameras}')

    def expect_said(self, text):
        """Wait until the node has written this after the last killing."""
        self.wait_for(lambda: text in self.detector.log()[self._said_before:], text)

    def wait_for(self, condition, what):
        """Wait until the condition is true."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, f'no {what}; {self.heard()} {self.detector.log()}'
            time.sleep(0.05)

    def end(self):
        """End the cameras and the subscriber."""
        for process in self._processes.values():
            process.send_signal(signal.SIGINT)
        for process in self._processes.values():
            process.wait(10)


@pytest.fixture(scope='module')
def world(start_detector, apart, tmp_path_factory):
    """Start all of them; images flow and detections are heard. Tests start whom they kill."""
    world = World(start_detector(
        autostart=True, cameras='[front, rear]', camera__qos_reliability=None,
        silence_timeout_s=0.5, environment=apart), tmp_path_factory.mktemp('world'), apart)
    yield world
    world.end()


def owned(pid):
    """Return the files in shared memory that come with the locks a process holds."""
    files = set()
    for link in list(Path(f'/proc/{pid}/fd').iterdir()):
        try:
            match = re.fullmatch(rf'{FOLDER}/(fast(?:rtps|dds)_\w+)_[es]l', os.readlink(link))
        except FileNotFoundError:  # closed meanwhile
            continue
        if match:
            files |= {match[1], f'{match[1]}_el', f'sem.{match[1]}_mutex'}
    return files


def left_of(files):
    """Return those of the files that still exist and that no process uses."""
    return sorted(path.name for path in stale_files() if path.name in files)


def test_a_killed_subscriber_is_no_loss_to_the_others(world):
    world.kill('subscriber')
    world.start('subscriber')
    world.expect_heard(*CAMERAS, count=30)
    assert 'Traceback' not in world.detector.log()


def test_a_killed_camera_is_reported_and_heard_again_and_the_other_one_meanwhile(world):
    world.kill('front')
    world.expect_heard('rear', count=15)
    world.expect_said('front: no image for')
    world.start('front')
    world.expect_said('front: images arrive again')
    world.expect_heard(*CAMERAS)


def test_cameras_and_subscriber_killed_at_once_come_back(world):
    world.kill(*CAMERAS, 'subscriber')
    for name in CAMERAS:
        world.expect_said(f'{name}: no image for')
    world.start(*CAMERAS, 'subscriber')
    world.expect_heard(*CAMERAS)
    assert 'Traceback' not in world.detector.log()


def test_nothing_of_killed_peers_and_of_the_node_stays_in_shared_memory(world):
    files = world.kill(*CAMERAS, 'subscriber')
    files |= (own := owned(world.detector.program.pid))
    assert own
    code, seconds = world.detector.stop()
    assert (code, seconds < 2) == (0, True), world.detector.log()
    assert left_of(files) == []


@pytest.fixture
def left_by_a_killed_node(apart):
    """Kill a node; return its files."""
    killed = subprocess.Popen([sys.executable, '-m', 'mbv2ssd_ros.ros.node'],
                              env={**os.environ, **apart}, start_new_session=True)
    deadline = time.monotonic() + 20
    while len(files := owned(killed.pid)) < 9:  # a segment and two ports
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    return files


def start_next(start_detector, apart, **parameters):
    """Start a node and wait until it is configured."""
    node = start_detector(autostart=True, environment=apart, **parameters)
    node.peer.wait_for(lambda: 'on onnxruntime' in node.log(), 'configured node')
    return node


def test_a_node_cleans_nothing_where_it_is_not_asked_to(
        start_detector, apart, left_by_a_killed_node):
    next_one = start_next(start_detector, apart, clean_shared_memory=False)
    segment = min(left_by_a_killed_node, key=lambda name: ('_port' in name, len(name)))
    assert left_of([segment]) == [segment]
    next_one.stop()
    assert left_of([segment]) == [segment]


def test_what_a_killed_node_left_is_removed_by_the_next_one(
        start_detector, apart, left_by_a_killed_node):
    next_one = start_next(start_detector, apart)
    assert left_of(left_by_a_killed_node) == []
    next_one.stop()
    assert left_of(left_by_a_killed_node) == []
