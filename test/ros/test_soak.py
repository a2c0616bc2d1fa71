"""
The node for a long time: cameras die and return, parameters storm, images are malformed.

Not part of the ordinary run: `pytest -m soak`, 20 minutes, or MBV2SSD_SOAK_MINUTES.
"""

from collections import deque
from itertools import cycle
import os
from pathlib import Path
import random
import re
import signal
import statistics
import time

import pytest
from test_node_abuse import malformed_compressed, malformed_image

from helpers.detector_rig import Detector
from helpers.paths import ROOT
from helpers.shared_memory import stale_files

SHIPPED = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'
MINUTES = float(os.environ.get('MBV2SSD_SOAK_MINUTES', '20'))
CAMERA_HZ, CAMERA_LIFE_S, CAMERA_PAUSE_S = 30, 10.0, 2.0
STORM_PERIOD_S, MALFORMED_PERIOD_S, DEBUG_PERIOD_S, SAMPLE_PERIOD_S = 0.1, 0.2, 7.0, 1.0
WARM_UP_SHARE = 0.25  # of the time: discovery, every code path once, malloc's high-water mark
MOST_GROWTH_KB = 5000
CYCLES, WARM_UP_CYCLES = 100, 20
# Parameter, value, whether it is taken.
STORM = (
    *(('score_threshold', value, True) for value in (0.1, 0.35, 0.9)),
    *(('nms_iou', value, True) for value in (0.3, 0.6)),
    *(('max_detections', value, True) for value in (1, 100)),
    *(('front.max_rate_hz', value, True) for value in (0.0, 10.0, 50.0)),
    *(('max_age_ms', value, True) for value in (0.0, 5000.0)),
    ('publish_debug_image', False, True), ('publish_debug_image', True, True),
    ('score_threshold', 1.5, False), ('class_allow', ['unicorn'], False),
    ('model_path', '/nowhere.onnx', False), ('class_thresholds', ['x'], False),
    ('max_detections', 'many', False), ('no_such_parameter', 1, False))

pytestmark = [pytest.mark.ros, pytest.mark.soak, pytest.mark.timeout(60 * MINUTES + 600)]


def is_asked_for(config):
    """Return whether the run asks for soak tests."""
    return 'soak' in (config.getoption('-m') or '')


@pytest.fixture(scope='session', autouse=True)
def remove_what_killed_cameras_leave(request):
    """Remove the shared memory of killed processes after all has ended."""
    before = set(stale_files())
    yield
    if is_asked_for(request.config):
        for path in set(stale_files()) - before:
            path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def asked_for(request):
    """Skip unless the run asks for it."""
    if not is_asked_for(request.config):
        pytest.skip('takes many minutes; run it with -m soak')


class Vitals:
    """What the process of the node takes of its machine."""

    def __init__(self, pid):
        self._folder = Path(f'/proc/{pid}')

    def resident_kb(self):
        """Return the resident memory."""
        return self._status('VmRSS')

    def handles(self):
        """Return the number of threads and of open files."""
        return self._status('Threads'), len(list((self._folder / 'fd').iterdir()))

    def _status(self, name):
        text = (self._folder / 'status').read_text()
        return int(re.search(rf'^{name}:\s+(\d+)', text, re.MULTILINE)[1])


class MortalCamera:
    """play_images that is ended after a while, in turns by SIGINT and SIGKILL, and comes back."""

    def __init__(self, topic, transport, reliabilities, folder, seed):
        self._topic, self._transport, self._folder = topic, transport, folder
        self._reliabilities, self._ways = cycle(reliabilities), cycle((signal.SIGINT,
                                                                       signal.SIGKILL))
        self._next = time.monotonic() + random.Random(seed).uniform(0, CAMERA_PAUSE_S)
        self.lives, self._program = 0, None

    def step(self):
        """End or start it when it is time to."""
        if time.monotonic() < self._next:
            return
        if self._program is None:
            self.start(next(self._reliabilities))
            self._next = time.monotonic() + CAMERA_LIFE_S
        else:
            self.end(next(self._ways))
            self._next = time.monotonic() + CAMERA_PAUSE_S

    def start(self, reliable):
        """Play the demo images at 30 Hz, small: large ones get lost without a profile."""
        from mbv2ssd_ros.tools.cli.processes import Program
        self.lives += 1
        self._program = Program('mbv2ssd_ros.tools.play_images', [
            str(ROOT / 'config/demo/images'), '--topic', self._topic, '--transport',
            self._transport, '--rate', str(CAMERA_HZ), '--size', '320x240', '--loop', '--no-wait',
            *(['--reliable'] if reliable else [])], os.environ,
            self._folder / f'{self._transport}_{self.lives}.log')

    def end(self, number=signal.SIGINT):
        """End the process and wait for it."""
        if self._program is not None:
            self._program.process.send_signal(number)
            self._program.process.wait(10)
            self._program = None


class ParameterStorm:
    """Sets parameters without waiting for the answers, and checks every answer."""

    def __init__(self, peer, node_name, rng):
        from rcl_interfaces.srv import SetParameters
        self._service, self._rng = SetParameters, rng
        self._client = peer.node.create_client(SetParameters, f'{node_name}/set_parameters')
        peer.wait_for(self._client.service_is_ready, 'parameter service')
        self.calls, self._waiting = 0, deque()

    def step(self):
        """Set one parameter; check the answers that are there."""
        from rclpy.parameter import Parameter
        name, value, taken = self._rng.choice(STORM)
        request = self._service.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()])
        self._waiting.append((name, value, taken, self._client.call_async(request)))
        self.calls += 1
        self.check()

    def check(self):
        """Check the answers that are there; return whether none is missing."""
        while self._waiting and self._waiting[0][-1].done():
            name, value, taken, future = self._waiting.popleft()
            result = future.result().results[0]
            assert (result.successful, bool(result.reason)) == (taken, not taken), (
                name, value, result)
        return not self._waiting


class Books:
    """Checks every report of the cameras' counters against the one before."""

    def __init__(self, detector):
        from diagnostic_msgs.msg import DiagnosticArray
        self._prefix = f'{detector.name}: camera '
        self._arrays = detector.peer.collect(DiagnosticArray, '/diagnostics')
        self.last, self.reports = {}, 0

    def check(self):
        """Check what has come since."""
        for array in self._arrays:
            for status in array.status:
                if status.name.startswith(self._prefix):
                    self._check(status.name[len(self._prefix):], {
                        entry.key: int(entry.value) for entry in status.values
                        if re.fullmatch(r'\d+', entry.value)})
        self._arrays.clear()

    def _check(self, camera, now):
        before = self.last.get(camera, {})
        reasons = sum(count for key, count in now.items() if key.startswith('dropped.'))
        assert now['received'] == now['published'] + reasons + now['in_flight']
        assert now['in_flight'] <= 2  # one waits, one is under way
        assert now['dropped.internal_error'] == now['dropped.backend_error'] == 0
        assert all(now[key] >= count for key, count in before.items() if key != 'in_flight')
        self.last[camera] = now
        self.reports += 1


@pytest.fixture
def soaked(start_detector, tiny_model):
    """Start a node with a raw and a compressed camera."""
    detector = start_detector(
        model=SHIPPED if SHIPPED.is_file() else tiny_model, cameras='[front, rear]',
        rear__transport='compressed', rear__qos_reliability='reliable',
        camera__qos_reliability=None)
    detector.activate()
    return detector


def every(period_s, action):
    """Return a function that does the action when its time has come."""
    due = time.monotonic()

    def step():
        nonlocal due
        if time.monotonic() >= due:
            due = max(due + period_s, time.monotonic())
            action()
    return step


def test_soak(soaked: Detector, tmp_path):
    from sensor_msgs.msg import CompressedImage, Image
    from vision_msgs.msg import Detection2DArray
    peer, rng, vitals = soaked.peer, random.Random(0), Vitals(soaked.program.pid)
    answers = {name: peer.collect(Detection2DArray, soaked.topic(f'{name}/detections'), 1000)
               for name in ('front', 'rear')}
    books, storm = Books(soaked), ParameterStorm(peer, soaked.name, rng)
    # the rear one is deaf to a best-effort camera: every second life is an incompatible one
    cameras = (MortalCamera(soaked.topic('front/image_raw'), 'raw', (False, True), tmp_path, 1),
               MortalCamera(soaked.topic('rear/image_raw'), 'compressed', (True, False), tmp_path,
                            2))
    bad = ((peer.node.create_publisher(Image, soaked.topic('front/image_raw'), 10),
            malformed_image),
           (peer.node.create_publisher(
               CompressedImage, soaked.topic('rear/image_raw/compressed'), 10),
            malformed_compressed))
    watched, counts, memory = [], dict.fromkeys(answers, 0), []

    def watch_debug_images():
        if watched:
            peer.node.destroy_subscription(watched.pop())
        else:
            watched.append(peer.node.create_subscription(
                Image, soaked.topic('front/detections/debug_image'), lambda message: None, 1))

    def sample():
        memory.append(vitals.resident_kb())
        assert soaked.program.process.poll() is None, soaked.log()
        for name, messages in answers.items():
            counts[name] += len(messages)
            messages.clear()
    steps = [
        every(STORM_PERIOD_S, storm.step), every(DEBUG_PERIOD_S, watch_debug_images),
        every(MALFORMED_PERIOD_S, lambda: [one.publish(make(rng)) for one, make in bad]),
        every(SAMPLE_PERIOD_S, sample), books.check, *(camera.step for camera in cameras)]
    baseline = None
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < 60 * MINUTES:
        for step in steps:
            step()
        peer.spin_for(0.02)
        if baseline is None and elapsed > 60 * MINUTES * WARM_UP_SHARE:
            baseline = len(memory), vitals.handles()
    for camera in cameras:
        camera.end()
    peer.wait_for(storm.check, 'answers of the parameter service')
    for publisher, _ in bad:  # a second publisher on a topic is a warning
        peer.node.destroy_publisher(publisher)

    # All cameras are back: the node recovers without help, and everything is answered.
    for name, value in (('publish_debug_image', True), ('max_age_ms', 0.0),
                        ('front.max_rate_hz', 0.0)):
        assert soaked.set(**{name.replace('.', '__'): value}) == ''
    for camera in cameras:
        camera.start(True)
    for name in answers:
        soaked.diagnosis(f'camera {name}', lambda s, v: s.level == b'\0', f'recovery of {name}')
    handles = vitals.handles()
    for camera in cameras:
        camera.end()
    for name in answers:
        soaked.diagnosis(
            f'camera {name}',
            lambda s, v: v['in_flight'] == '0' and float(v['input_rate_hz']) == 0, 'silence')
    books.check()
    sample()

    warm, baseline_handles = baseline
    window = max(10, len(memory) // 10)
    growth_kb = (statistics.median(memory[-window:])
                 - statistics.median(memory[warm:warm + window]))
    tenths = [round(statistics.median(memory[at:at + window]))
              for at in range(0, len(memory) - window + 1, max(1, len(memory) // 10))]
    print(f'\n{MINUTES:g} min, {storm.calls} parameter calls, camera lives '
          f'{[camera.lives for camera in cameras]}, reports {books.reports}, memory growth '
          f'{growth_kb:.0f} kB of {tenths} kB, threads and files {baseline_handles} -> '
          f'{handles}, detection messages received {counts}\nbooks {books.last}')
    assert storm.calls > 60 * MINUTES / STORM_PERIOD_S / 2
    for name, count in counts.items():
        published = books.last[name]['published']
        assert 0.999 * published <= count <= published
        assert published > 10 * 60 * MINUTES / 4
        # no more than was sent: nothing is called skipped that was never there
        assert books.last[name]['received'] < 60 * MINUTES * (CAMERA_HZ + 1 / MALFORMED_PERIOD_S)
        assert books.last[name]['dropped.undecodable'] > 0
    assert growth_kb < MOST_GROWTH_KB
    assert handles == baseline_handles
    assert soaked.state() == 'active'
    assert 'Traceback' not in soaked.log()
    assert soaked.stop()[0] == 0


def test_a_hundred_cycles_of_the_lifecycle_leave_nothing_behind(start_detector, tiny_model):
    model = SHIPPED if SHIPPED.is_file() else tiny_model
    detector = start_detector(model=model, cameras='[front, rear]')
    vitals, looks = Vitals(detector.program.pid), []
    for _ in range(CYCLES):
        for label in ('configure', 'activate', 'deactivate', 'cleanup'):
            assert detector.change_state(label), detector.log()
        looks.append((vitals.resident_kb(), *vitals.handles()))
    growth_kb = (statistics.median(look[0] for look in looks[-10:])
                 - statistics.median(look[0] for look in looks[WARM_UP_CYCLES:][:10]))
    print(f'\n{CYCLES} cycles: memory growth {growth_kb:.0f} kB of {looks[-1][0]} kB, threads and '
          f'files {looks[WARM_UP_CYCLES][1:]} -> {looks[-1][1:]}')
    assert growth_kb < MOST_GROWTH_KB
    assert looks[-1][1:] == looks[WARM_UP_CYCLES][1:]
