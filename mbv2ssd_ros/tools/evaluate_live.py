"""
Play a recording through the live detector node, and account for every image.

Starts the node and a player, each a process of its own, and says for each camera what was lost
before the node, dropped by it (with its own reasons), and lost on the way to a
subscriber. `ros2 launch mbv2ssd_ros evaluate.launch.py` does the same with `ros2 bag play`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
import json
import os
from pathlib import Path
import sys
import tempfile

from mbv2ssd_ros.shipped import shipped_path
from mbv2ssd_ros.tools.cli.arguments import domain_id, positive, share
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.processes import ending, Program, ros_environment
from mbv2ssd_ros.tools.cli.program import log, model_file, run
from mbv2ssd_ros.tools.cli.ros_session import parse, ros_node
from mbv2ssd_ros.tools.live.account import CameraOutcome, table
from mbv2ssd_ros.tools.live.cameras import BagCamera, cameras_of, node_parameters
from mbv2ssd_ros.tools.live.watch import Watch, WatchedCamera

PROGRAM = 'evaluate_live'
NODE = 'detector'
READY = f'{PROGRAM}: ready, play the bag'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 1 when the run failed, or less was answered than --min-answered."""
    args = parse(_parser(), argv)
    return run(PROGRAM, lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> int:
    outcomes = _watch_only(args) if args.attach else play_and_watch(args)
    print(table(outcomes), flush=True)
    _write(args, outcomes)
    return _judge(outcomes, args.min_answered)


def play_and_watch(args: argparse.Namespace) -> list[CameraOutcome]:
    """Start the node and the player, watch, end both; return the outcome of each camera."""
    check_writable(args.json)
    cameras = cameras_of(args.bag, args.topic)
    model = model_file(args.model).resolve()
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
        log(PROGRAM, f'less than {100 * least:g} % answered: {", ".join(few)}')
    if nothing := [outcome.name for outcome in outcomes if not outcome.sent]:
        log(PROGRAM, f'nothing was sent for {", ".join(nothing)}')
    return int(bool(few or nothing))


def _write(args: argparse.Namespace, outcomes: Sequence[CameraOutcome]) -> None:
    write_json(args.json, {
        'bag': args.bag.name,
        'cameras': {outcome.name: outcome.to_dict() for outcome in outcomes}})


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
