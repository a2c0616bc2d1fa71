"""
Play a recording through the live detector node, and account for every image.

Starts the node and a player, each a process of its own, and says for each camera what was lost
before the node, dropped by it (with the reasons of its own books), and lost on the way to a
subscriber. `ros2 launch mbv2ssd_ros evaluate.launch.py` does the same with `ros2 bag play`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_ros.ros.model_file import find_model
from mbv2ssd_ros.tools.arguments import domain_id, positive, share
from mbv2ssd_ros.tools.live_account import CameraOutcome, NodeBooks, table
from mbv2ssd_ros.tools.live_cameras import BagCamera, cameras_of, node_parameters
from mbv2ssd_ros.tools.processes import ending, ProcessError, Program, ros_environment
from mbv2ssd_ros.tools.ros_session import parse, report_error, ros_node
from mbv2ssd_ros.tools.shipped import shipped_path

PROGRAM = 'evaluate_live'
NODE = 'detector'
READY = f'{PROGRAM}: ready, play the bag'
SILENT_S = 6.0  # a node that has not reported for so long is gone; it reports once a second
SETTLE_S = 10.0  # that the last images may take
STEADY_REPORTS = 2  # without a change: the node reports once a second
_POLL_S = 0.1
_DEPTH = 1000  # of the subscriptions: nothing is to be lost here


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the program.

    Args:
        argv: without the program's name; None: those of this process.

    Returns:
        The exit code: 1 when the run failed, or less was answered than --min-answered.
    """
    args = parse(_parser(), argv)
    try:
        outcomes = _watch_only(args) if args.attach else run(args)
        print(table(outcomes), flush=True)
        if args.json is not None:
            _write(args, outcomes)
    except Mbv2SsdError as err:
        return report_error(PROGRAM, err)
    except KeyboardInterrupt:
        print(f'{PROGRAM}: interrupted', file=sys.stderr)
        return 130
    return _judge(outcomes, args.min_answered)


def run(args: argparse.Namespace) -> list[CameraOutcome]:
    """
    Start the node and the player, watch, end both.

    Args:
        args: of the command line.

    Returns:
        What became of the images of each camera.

    Raises:
        Mbv2SsdError: the bag or the model cannot be used, or a process failed.
    """
    cameras = cameras_of(args.bag, args.topic)
    model = find_model(args.model).resolve()
    if not model.is_file():
        raise ConfigError(f'--model {model}: no such file; expected an ONNX file made by '
                          '`mbv2ssd_train export`')
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_live_') as folder, ending(programs):
        logs = Path(folder)
        environment = ros_environment(logs, args.domain_id)
        os.environ.update(environment)  # this process watches in the same domain
        node = Program('mbv2ssd_ros.ros.node', _node_arguments(args, model, cameras),
                       environment, logs / 'node.log')
        programs.append(node)
        with ros_node(PROGRAM, args.ros_args) as own:
            watch = Watch(own, NODE, cameras, stamped_now=True)
            watch.until_active(args.timeout, node.check, node.tail)
            played = logs / 'played.jsonl'
            player = Program('mbv2ssd_ros.tools.play_bag', _player_arguments(
                args, watch.cameras, played), environment, logs / 'play_bag.log')
            programs.append(player)
            watch.until(lambda: player.process.poll() is not None, node.check)
            player.check()
            watch.until_settled()
            sent = Counter(json.loads(line)['topic'] for line in played.read_text().splitlines())
            return watch.outcomes(sent)


def _watch_only(args: argparse.Namespace) -> list[CameraOutcome]:
    cameras = cameras_of(args.bag, args.topic)
    with ros_node(PROGRAM, args.ros_args) as own:
        watch = Watch(own, args.node, cameras, stamped_now=args.stamps == 'now')
        watch.until_active(args.timeout)
        print(READY, flush=True)  # the launch file waits for it
        watch.until_played(args.timeout)
        watch.until_settled()
        return watch.outcomes({camera.image_topic: camera.frames for camera in cameras})


@dataclass
class WatchedCamera:
    """A camera of the node, and what arrived of it."""

    name: str
    image_topic: str
    detections_topic: str  # full name
    arrived: int = 0
    books: NodeBooks | None = None


class Watch:
    """Listens to the node: its detections and its books."""

    def __init__(self, own: Any, node: str, cameras: Sequence[BagCamera], stamped_now: bool
                 ) -> None:
        """
        Listen to the books; the detections follow when the node has said its topics.

        Args:
            own: node of this process; nobody else serves it.
            node: name of the detector.
            cameras: of the bag.
            stamped_now: images carry the time at which they are published.
        """
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        self._own, self._wanted = own, {camera.image_topic for camera in cameras}
        self._stamped_now = stamped_now
        self._name = node
        self._full_name = ''
        self._last_report = 0.0
        self._latencies_ms: dict[str, list[float]] = {}
        self.cameras: list[WatchedCamera] = []
        self._executor = SingleThreadedExecutor(context=own.context)
        self._executor.add_node(own)
        own.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def until_active(self, timeout_s: float, check: Callable[[], None] = lambda: None,
                     log: Callable[[], str] = lambda: 'see its log and /diagnostics') -> None:
        """
        Wait until the node is active, has told its cameras, and knows that we listen.

        Args:
            timeout_s: at most so long.
            check: raises when it cannot become active any more.
            log: what to say of it when it did not.

        Raises:
            ProcessError: it did not, or has no camera for a topic of the bag.
        """
        from mbv2ssd_ros.tools.checkup.network import ask_detector, detectors_named
        deadline = time.monotonic() + timeout_s
        said = 'is not there'
        while not self.cameras:
            check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f'the node {self._name} {said} after {timeout_s:g} s; {log()}')
            self._executor.spin_once(timeout_sec=_POLL_S)
            for name in detectors_named(self._own, self._name):
                found = ask_detector(self._own, self._executor, name)
                said = f'is {found.state or "busy"}'
                if found.state == 'active' and found.parameters:
                    self._full_name = name
                    self._subscribe(found)
        self.until(lambda: all(camera.books for camera in self.cameras), check)

    def until_played(self, timeout_s: float) -> None:
        """
        Wait for a player to come and to go.

        Args:
            timeout_s: at most so long for it to come.

        Raises:
            ProcessError: nobody came, or the node went.
        """
        deadline = time.monotonic() + timeout_s

        def has_begun() -> bool:
            if time.monotonic() > deadline:
                raise ProcessError(f'nobody published on {", ".join(sorted(self._wanted))} within '
                                   f'{timeout_s:g} s; the log of the player says why')
            # a short bag may be over before we have discovered who played it
            return self._is_played() or any(
                camera.books and camera.books.received for camera in self.cameras)
        self.until(has_begun)
        self.until(lambda: not self._is_played())

    def until_settled(self) -> None:
        """Wait until STEADY_REPORTS say the same with nothing in flight; SETTLE_S at most."""
        before: Any = None
        changed, steady, last_report = time.monotonic(), 0, self._last_report
        while steady < STEADY_REPORTS and time.monotonic() < changed + SETTLE_S:
            self._executor.spin_once(timeout_sec=_POLL_S)
            if self._last_report == last_report:
                continue
            last_report = self._last_report
            now = [(camera.books, camera.arrived) for camera in self.cameras]
            if now != before:
                before, changed, steady = now, time.monotonic(), 0
            elif not any(books.in_flight for books, _ in now if books):
                steady += 1

    def until(self, condition: Callable[[], bool], check: Callable[[], None] = lambda: None
              ) -> None:
        """
        Serve this process until something is the case.

        Args:
            condition: asked again and again.
            check: raises when it cannot come true any more.

        Raises:
            ProcessError: the node does not report any more.
        """
        self._last_report = max(self._last_report, time.monotonic())
        while not condition():
            check()
            if time.monotonic() > self._last_report + SILENT_S:
                raise ProcessError(f'{self._full_name} has not reported for {SILENT_S:g} s; has '
                                   'it ended?')
            self._executor.spin_once(timeout_sec=_POLL_S)

    def outcomes(self, sent: Mapping[str, int]) -> list[CameraOutcome]:
        """
        Sum up.

        Args:
            sent: images by topic.

        Returns:
            What became of them, camera by camera.
        """
        return [
            CameraOutcome(camera.name, camera.image_topic, camera.detections_topic,
                          sent.get(camera.image_topic, 0), camera.books, camera.arrived,
                          self._latency(camera.name))
            for camera in self.cameras if camera.books is not None]

    def _subscribe(self, found: Any) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from vision_msgs.msg import Detection2DArray

        from mbv2ssd_ros.tools.checkup.parameter_file import full_topic
        for name in found.parameters.get('cameras', []):
            camera = WatchedCamera(
                name, full_topic(found.parameters[f'{name}.image_topic'], found.namespace),
                full_topic(found.parameters[f'{name}.detections_topic'], found.namespace))
            if camera.image_topic in self._wanted:
                self.cameras.append(camera)
        missing = self._wanted - {camera.image_topic for camera in self.cameras}
        if missing:
            raise ProcessError(f'{found.name} has no camera for {", ".join(sorted(missing))} of '
                               'the bag; set <camera>.image_topic, or choose topics')
        for camera in self.cameras:
            self._latencies_ms[camera.name] = []
            self._own.create_subscription(
                Detection2DArray, camera.detections_topic, self._receiver(camera),
                QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE))

    def _receiver(self, camera: WatchedCamera) -> Callable[[Any], None]:
        latencies = self._latencies_ms[camera.name]

        def receive(message: Any) -> None:
            stamp = message.header.stamp
            camera.arrived += 1
            latencies.append(1e-6 * (time.time_ns() - stamp.sec * 10 ** 9 - stamp.nanosec))
        return receive

    def _latency(self, name: str) -> dict[str, float] | None:
        from mbv2ssd_ros.tools.benchmark_figures import percentiles
        found = self._latencies_ms[name]
        return percentiles(found) if found and self._stamped_now else None

    def _is_played(self) -> bool:
        return any(self._own.count_publishers(topic) for topic in self._wanted)

    def _on_diagnostics(self, array: Any) -> None:
        for status in array.status:
            if status.hardware_id != self._full_name or not self._full_name:
                continue
            self._last_report = time.monotonic()
            for camera in self.cameras:
                if status.name == f'{self._full_name}: camera {camera.name}':
                    camera.books = NodeBooks.from_values(
                        {entry.key: entry.value for entry in status.values})


def _node_arguments(args: argparse.Namespace, model: Path, cameras: Sequence[BagCamera]
                    ) -> list[str]:
    params_file = args.params_file or shipped_path('config/detector.yaml')
    arguments = ['--ros-args', '--params-file', str(params_file), '-p', 'autostart:=true',
                 '-p', f'model_path:={model}', '-p', f'backend:={args.backend}']
    for name, value in node_parameters(cameras).items():
        text = f'[{", ".join(value)}]' if isinstance(value, list) else value
        arguments += ['-p', f'{name}:={text}']
    return arguments


def _player_arguments(args: argparse.Namespace, cameras: Sequence[WatchedCamera], record: Path
                      ) -> list[str]:
    arguments = [str(args.bag), '--stamps', 'now', '--record', str(record),
                 '--rate', f'{args.rate:g}']
    for camera in cameras:
        arguments += ['--topic', camera.image_topic]
        if args.as_answered:
            arguments += ['--answered-by', camera.detections_topic]
    return arguments


def _judge(outcomes: Sequence[CameraOutcome], least: float) -> int:
    few = [outcome.name for outcome in outcomes if outcome.answered < least]
    if few:
        print(f'{PROGRAM}: less than {100 * least:g} % answered: {", ".join(few)}',
              file=sys.stderr)
    if nothing := [outcome.name for outcome in outcomes if not outcome.sent]:
        print(f'{PROGRAM}: nothing was sent for {", ".join(nothing)}', file=sys.stderr)
    return int(bool(few or nothing))


def _write(args: argparse.Namespace, outcomes: Sequence[CameraOutcome]) -> None:
    report = {'bag': args.bag.name,
              'cameras': {outcome.name: outcome.to_dict() for outcome in outcomes}}
    try:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    except OSError as err:
        raise ConfigError(f'--json {args.json}: cannot be written: {err.strerror}') from err


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n'
               '  evaluate_live drive/\n'
               '  evaluate_live drive/ --model mine.onnx --rate 2 --min-answered 0.95\n'
               '  evaluate_live drive/ --as-answered --json live.json')
    parser.add_argument('bag', type=Path, help='folder of a rosbag2, a .mcap, .db3 or .bag file')
    parser.add_argument('--topic', action='append', default=[], metavar='TOPIC',
                        help='of images; once for each camera (default: all that have images)')
    parser.add_argument('--model', default='', metavar='FILE',
                        help='ONNX file (default: the model shipped with the package)')
    parser.add_argument('--backend', default='auto', metavar='NAME',
                        help="as the node's parameter (default %(default)s)")
    parser.add_argument('--params-file', type=Path, metavar='FILE',
                        help='thresholds and the rest; the cameras are those of the bag (default: '
                             'config/detector.yaml)')
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument('--rate', type=positive, default=1.0, metavar='FACTOR',
                      help='2 plays twice as fast as it was recorded (default %(default)g)')
    pace.add_argument('--as-answered', action='store_true',
                      help='play each image when the one before it was answered')
    parser.add_argument('--min-answered', type=share, default=0.0, metavar='SHARE',
                        help='exit code 1 when less of the images of a camera is answered, 0 to '
                             '1 (default %(default)g)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    parser.add_argument('--timeout', type=positive, default=60.0, metavar='S',
                        help='for the node to become active, in seconds (default %(default)g)')
    parser.add_argument('--domain-id', type=domain_id, metavar='0..101',
                        help='ROS_DOMAIN_ID of the processes (default: one of their own)')
    parser.add_argument('--attach', action='store_true',
                        help='start nothing: watch a node and a player that others start; '
                             '--model, --rate and the like have no effect then')
    parser.add_argument('--node', default=NODE, metavar='NAME',
                        help='to watch with --attach (default %(default)s)')
    parser.add_argument('--stamps', choices=('recorded', 'now'), default='recorded',
                        help='with --attach: which stamps the player gives; now tells the '
                             'latency (default %(default)s)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
