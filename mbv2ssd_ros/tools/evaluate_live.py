"""
Play a recording through the live detector node, and account for every image.

Starts the node and a player, each a process of its own, and reports for each camera what was lost
before the node, dropped by it (with its reasons), and lost on the way to a subscriber. `ros2
launch mbv2ssd_ros evaluate.launch.py` does the same with `ros2 bag play`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import sys
import tempfile

from mbv2ssd_ros.core.arguments import positive, share
from mbv2ssd_ros.shipped import shipped_path
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.processes import ending, Program, ros_environment
from mbv2ssd_ros.tools.cli.program import log, model_file, run
from mbv2ssd_ros.tools.cli.ros_session import ros_node
from mbv2ssd_ros.tools.cli.settings import (
    domain_option,
    flag,
    json_option,
    model_option,
    option,
    read,
    topics_option,
)
from mbv2ssd_ros.tools.live.account import CameraOutcome, table
from mbv2ssd_ros.tools.live.cameras import BagCamera, cameras_of, node_parameters
from mbv2ssd_ros.tools.live.watch import Watch, WatchedCamera

PROGRAM = 'evaluate_live'
NODE = 'detector'
READY = f'{PROGRAM}: ready, play the bag'


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is played through which node, or what is watched."""

    bag: Path = option(type=Path, help='folder of a rosbag2, a .mcap, .db3 or .bag file')
    topic: list[str] = topics_option('all that have images')
    model: str = model_option()
    backend: str = option('--backend', default='auto', metavar='NAME',
                          help="as the node's parameter (default %(default)s)")
    params_file: Path | None = option(
        '--params-file', type=Path, metavar='FILE', help='thresholds and the rest; the cameras '
        'are those of the bag (default: config/detector.yaml)')
    rate: float = option('--rate', type=positive, default=1.0, metavar='FACTOR', group='pace',
                         help='2 plays twice as fast as it was recorded (default %(default)g)')
    max_gap: float = option('--max-gap', type=positive, default=10.0, metavar='S',
                            help='cut longer gaps of the recording to this (default %(default)g)')
    as_answered: bool = option('--as-answered', action='store_true', default=False, group='pace',
                               help='play each image when the one before it was answered')
    min_answered: float = option(
        '--min-answered', type=share, default=0.0, metavar='SHARE', help='exit code 1 when less '
        'of the images of a camera is answered, 0 to 1 (default %(default)g)')
    json: Path | None = json_option()
    timeout: float = option(
        '--timeout', type=positive, default=60.0, metavar='S',
        help='for the node to become active, in seconds (default %(default)g)')
    domain_id: int | None = domain_option()
    attach: bool = flag('--attach', 'start nothing: watch a node and a player that are started '
                        'elsewhere; --model, --rate and the like have no effect then')
    node: str = option('--node', default=NODE, metavar='NAME',
                       help='to watch with --attach (default %(default)s)')
    stamps: str = option('--stamps', choices=('recorded', 'now'), default='recorded',
                         help='with --attach: which stamps the player gives; the latency is '
                         'known with now only (default %(default)s)')
    ros_args: Sequence[str] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 1 when the run failed, or less was answered than --min-answered."""
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  evaluate_live drive/\n'
        '  evaluate_live drive/ --model mine.onnx --rate 2 --min-answered 0.95\n'
        '  evaluate_live drive/ --as-answered --json live.json', exclusive='pace')
    return run(PROGRAM, lambda: _evaluate(settings))


def _evaluate(settings: Settings) -> int:
    outcomes = _watch_only(settings) if settings.attach else play_and_watch(settings)
    print(table(outcomes), flush=True)
    write_json(settings.json, {
        'bag': settings.bag.name,
        'cameras': {outcome.name: outcome.to_dict() for outcome in outcomes}})
    return _judge(outcomes, settings.min_answered)


def play_and_watch(settings: Settings) -> list[CameraOutcome]:
    """Start the node and the player, watch, end both; return the outcome of each camera."""
    check_writable(settings.json)
    cameras = cameras_of(settings.bag, settings.topic)
    model = model_file(settings.model).resolve()
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_live_') as folder, ending(programs):
        logs = Path(folder)
        environment = ros_environment(logs, settings.domain_id)
        os.environ.update(environment)  # this process watches in the same domain
        node = Program('mbv2ssd_ros.ros.node', _node_arguments(settings, model, cameras),
                       environment, logs / 'node.log')
        programs.append(node)
        with ros_node(PROGRAM, settings.ros_args) as own:
            watch = Watch(own, NODE, cameras, stamped_now=True)
            watch.until_active(settings.timeout, node.check, node.tail)
            played = logs / 'played.jsonl'
            player = Program('mbv2ssd_ros.tools.play_bag', _player_arguments(
                settings, watch.cameras, played), environment, logs / 'play_bag.log')
            programs.append(player)
            watch.until(lambda: player.process.poll() is not None, node.check)
            player.check()
            for line in (logs / 'play_bag.log').read_text(errors='replace').splitlines():
                if '--max-gap' in line:
                    log(PROGRAM, line)
            watch.until_settled()
            sent = Counter(json.loads(line)['topic'] for line in played.read_text().splitlines())
            return watch.outcomes(sent)


def _watch_only(settings: Settings) -> list[CameraOutcome]:
    cameras = cameras_of(settings.bag, settings.topic)
    with ros_node(PROGRAM, settings.ros_args) as own:
        watch = Watch(own, settings.node, cameras, stamped_now=settings.stamps == 'now')
        watch.until_active(settings.timeout)
        print(READY, flush=True)  # the launch file waits for it
        watch.until_played(settings.timeout)
        watch.until_settled()
        return watch.outcomes({camera.image_topic: camera.frames for camera in cameras})


def _node_arguments(settings: Settings, model: Path, cameras: Sequence[BagCamera]
                    ) -> list[str]:
    params_file = settings.params_file or shipped_path('config/detector.yaml')
    arguments = ['--ros-args', '--params-file', str(params_file), '-p', 'autostart:=true',
                 '-p', f'model_path:={model}', '-p', f'backend:={settings.backend}']
    for name, value in node_parameters(cameras).items():
        text = f'[{", ".join(value)}]' if isinstance(value, list) else value
        arguments += ['-p', f'{name}:={text}']
    return arguments


def _player_arguments(settings: Settings, cameras: Sequence[WatchedCamera], record: Path
                      ) -> list[str]:
    arguments = [str(settings.bag), '--stamps', 'now', '--record', str(record),
                 '--rate', f'{settings.rate:g}', '--max-gap', f'{settings.max_gap:g}']
    for camera in cameras:
        arguments += ['--topic', camera.image_topic]
        if settings.as_answered:
            arguments += ['--answered-by', camera.detections_topic]
    return arguments


def _judge(outcomes: Sequence[CameraOutcome], least: float) -> int:
    few = [outcome.name for outcome in outcomes if outcome.answered < least]
    if few:
        log(PROGRAM, f'less than {100 * least:g} % answered: {", ".join(few)}')
    if nothing := [outcome.name for outcome in outcomes if not outcome.sent]:
        log(PROGRAM, f'nothing was sent for {", ".join(nothing)}')
    return int(bool(few or nothing))


if __name__ == '__main__':
    sys.exit(main())
