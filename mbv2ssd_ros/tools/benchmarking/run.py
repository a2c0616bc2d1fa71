"""The processes of a benchmark: an engine alone, or a node with cameras and a subscriber."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import time
from typing import Any

from mbv2ssd_ros.core.arguments import positive, size_wh, whole
from mbv2ssd_ros.tools.benchmarking.figures import Received, Record, Sent
from mbv2ssd_ros.tools.cli.processes import ProcessError, Program, ros_environment
from mbv2ssd_ros.tools.cli.settings import option
from mbv2ssd_ros.tools.playing.publishing import share_large_images

LOAD_TIMEOUT_S = 900.0  # TensorRT may have to build an engine
START_TIMEOUT_S = 30.0
LAST_ARRIVAL_S = 0.5  # wait for late arrivals after the last image
WARM_UP = 5  # at the start of every measurement: after a pause caches are cold
TRANSPORT_TOPIC = '/transport/image_raw'  # the same images, not subscribed to by the node


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """A camera whose images are measured, round after round."""

    images: Path | None = option('--images', type=Path, metavar='PATH',
                                 help='what the camera sees (default: the demo images)')
    size: tuple[int, int] = option('--size', default=(640, 480), type=size_wh, metavar='WxH',
                                   help='of the camera (default 640x480)')
    rate: float = option('--rate', default=30.0, type=positive, metavar='HZ',
                         help='of the camera; a tight loop measures a machine that no robot has '
                         '(default %(default)g)')
    frames: int = option('--frames', default=300, type=whole, metavar='N',
                         help='of each measurement, over all rounds (default %(default)s)')
    # With 3 rounds p50 of the overhead was 1.4 to 3.3 ms on the same quiet machine, whose cores
    # have slow seconds; with 10 it was 1.5 to 1.7.
    rounds: int = option('--rounds', default=10, type=whole, metavar='N',
                         help='(default %(default)s)')


@dataclass(frozen=True)
class Setup:
    """What is measured: a model with a backend, and the camera in front of it."""

    model: Path
    backend: str
    images: Path
    size_wh: tuple[int, int]
    rate_hz: float
    threads: int = 1  # of the engine alone
    reliable: bool = False
    domain_id: int | None = None  # None: one of their own

    @property
    def size(self) -> str:
        """Width and height in pixels, as in --size."""
        return '{}x{}'.format(*self.size_wh)


class Engine:
    """A process with an engine alone; `described` has the facts of its model, or an error."""

    def __init__(self, setup: Setup, log_file: Path, programs: list[Program]) -> None:
        """Start it, add it to `programs`, which the caller ends, and wait until it has loaded."""
        options = json.dumps({
            'model': str(setup.model), 'backend': setup.backend, 'threads': setup.threads,
            'images': str(setup.images), 'size_wh': setup.size_wh})
        self._program = Program('mbv2ssd_ros.tools.benchmarking.inference', [options],
                                ros_environment(log_file.parent), log_file, pipes=True)
        programs.append(self._program)
        try:
            self.described = self._program.answer(LOAD_TIMEOUT_S)
        except ProcessError:
            self.described = {'error': f'was not loaded; {self._program.tail()}'}

    def measure(self, what: str, count: int, rate_hz: float) -> dict[str, Any]:
        """
        Run 'infer' or 'detect' at a rate; 0: one after the other.

        Returns `ms` of each run, `fps` and `rss_mb`.
        """
        seconds = (count + WARM_UP) / rate_hz if rate_hz else 0.0
        return self._program.ask(
            {'what': what, 'count': count, 'warm_up': WARM_UP, 'rate_hz': rate_hz},
            120.0 + 2 * seconds)


class Graph:
    """A node, its cameras and a subscriber, each a process, with their logs in one folder."""

    def __init__(self, setup: Setup, folder: Path, programs: list[Program],
                 cameras: Sequence[str] = ('camera',), **parameters: object) -> None:
        """Start them, with more parameters of the node if given, and add them to `programs`."""
        self._setup, self._folder, self._programs = setup, folder, programs
        self._environment = ros_environment(folder, setup.domain_id)
        self._record_file = folder / 'record.json'
        self.topics = [f'/{name}/image_raw' for name in cameras]
        # Only the sender's shared memory size counts. The node runs as users run it.
        sending = dict(self._environment)
        share_large_images(sending)
        self._camera = self._start_role(
            'camera', sending, images=str(setup.images), size_wh=setup.size_wh,
            topics=[*self.topics, TRANSPORT_TOPIC])
        self.node = self._start_node(cameras, parameters)
        self.listener = self._start_role(
            'listener', self._environment, image_topic=TRANSPORT_TOPIC,
            detections_topics=[f'/{name}/detections' for name in cameras])

    def wait_until_answered(self, topics: Sequence[str], what: str) -> None:
        """
        Publish until an image on each topic has come back: discovery is then complete.

        Raises ProcessError, naming `what`, when they do not come within START_TIMEOUT_S.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            sent, received = self.exchange(topics, 3)
            arrived = {stamp for stamp, _, _ in received}
            if all(any(stamp in arrived for stamp, _ in sent[number::len(topics)])
                   for number in range(len(topics))):
                return
            self.node.check()
            if time.monotonic() > deadline:
                raise ProcessError(f'no {what} within {START_TIMEOUT_S:g} s; the node: '
                                   f'{self.node.tail()}')

    def exchange(self, topics: Sequence[str], count: int, rate_hz: float | None = None
                 ) -> tuple[Sent, Received]:
        """Publish images on each topic, at the rate of the camera, and collect what arrives."""
        sent = self.publish(topics, count, rate_hz)
        return sent, self.collect(len(sent))

    def publish(self, topics: Sequence[str], count: int, rate_hz: float | None = None) -> Sent:
        """Publish images on each topic at the same instants, topic by topic at each."""
        rate_hz = rate_hz or self._setup.rate_hz
        sent: Sent = self._camera.ask(
            {'topics': topics, 'count': count, 'rate_hz': rate_hz},
            START_TIMEOUT_S + 2 * count / rate_hz)['sent']
        return sent

    def collect(self, count: int) -> Received:
        """Take the arrivals, once there are `count` or no more can be expected."""
        received: Received = self.listener.ask(
            {'count': count, 'timeout_s': LAST_ARRIVAL_S}, START_TIMEOUT_S)['received']
        return received

    def end_node(self) -> Record:
        """End the node; return its record, with an entry for each answered frame."""
        self.node.end()
        self.node.check()
        record: Record = json.loads(self._record_file.read_text())
        return record

    def _start_node(self, cameras: Sequence[str], parameters: Mapping[str, object]) -> Program:
        reliability = 'reliable' if self._setup.reliable else 'best_effort'
        settings = {'autostart': 'true', 'model_path': self._setup.model.resolve(),
                    'backend': self._setup.backend, 'cameras': f'[{",".join(cameras)}]',
                    **{f'{name}.qos_reliability': reliability for name in cameras}, **parameters}
        arguments = [str(self._record_file), '--ros-args']
        for name, value in settings.items():
            arguments += ['-p', f'{name}:={value}']
        return self._start('node', arguments, self._environment, 'node', pipes=False)

    def _start_role(self, role: str, environment: Mapping[str, str], **options: object) -> Program:
        options['reliable'] = self._setup.reliable
        return self._start('roles', [role, json.dumps(options)], environment, role, pipes=True)

    def _start(self, module: str, arguments: Sequence[str], environment: Mapping[str, str],
               name: str, pipes: bool) -> Program:
        self._programs.append(Program(f'mbv2ssd_ros.tools.benchmarking.{module}', arguments,
                                      environment, self._folder / f'{name}.log', pipes=pipes))
        return self._programs[-1]
