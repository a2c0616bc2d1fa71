"""
The whole path in one command: photographs on a camera topic, the detector, annotated pictures.

play_images, the detector node with config/detector.yaml, and view_detections run as three
processes and talk over ROS 2 topics in a domain of their own. Exit code 0 means that something
was detected in every image.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import statistics
import sys
import time
from typing import Any

import cv2
import numpy as np

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_ros.ros.model_file import find_model
from mbv2ssd_ros.tools.arguments import domain_id, positive, whole
from mbv2ssd_ros.tools.contact_sheet import contact_sheet
from mbv2ssd_ros.tools.image_source import open_source
from mbv2ssd_ros.tools.processes import ending, ProcessError, Program, ros_environment
from mbv2ssd_ros.tools.shipped import shipped_path

PROGRAM = 'demo'
CONTACT_SHEET = 'contact_sheet.png'
LAST_ANSWER_S = 5.0  # how long the detections of the last image may take
_POLL_S = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the demo.

    Args:
        argv: without the program's name; None: those of this process.

    Returns:
        The exit code: 0 when something was detected in every image.
    """
    args = _parser().parse_args(argv)
    try:
        frames = run(args)
        seen = best_frames(frames)
        write_contact_sheet(seen, args.output)
        _report(frames, seen, args.output)
    except Mbv2SsdError as err:
        print(f'{PROGRAM}: error: {err}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'{PROGRAM}: interrupted', file=sys.stderr)
        return 130
    return 0


@dataclass(frozen=True)
class DemoFrame:
    """One image that was played, and what the viewer made of it."""

    image_name: str
    viewed: dict[str, Any] | None  # a line of view_detections --record; None: no answer came

    @property
    def scores(self) -> list[float]:
        """Of the detections, best first."""
        return self.viewed['scores'] if self.viewed else []

    def caption(self) -> str:
        """
        Describe it.

        Returns:
            Such as 'dog.jpg: dog 0.93'.
        """
        if self.viewed is None:
            return f'{self.image_name}: no answer'
        found = [f'{name} {score:.2f}'
                 for name, score in zip(self.viewed['names'], self.scores, strict=True)]
        return f'{self.image_name}: {", ".join(found) or "nothing"}'


def run(args: argparse.Namespace) -> list[DemoFrame]:
    """
    Play the images through the detector.

    Args:
        args: of the command line.

    Returns:
        Every frame that was played, in order.

    Raises:
        ProcessError: a program failed; its log is quoted.
        ConfigError: no model, no images.
    """
    images, model, params = _inputs(args)
    output, logs = args.output, args.output / 'log'
    _clear(output)
    played, viewed = logs / 'played.jsonl', logs / 'viewed.jsonl'
    environment = ros_environment(logs, args.domain_id)
    _say(f'{len(images)} images, model {model}')
    _say(f'ROS_DOMAIN_ID={environment["ROS_DOMAIN_ID"]}; logs in {logs}')
    programs: list[Program] = []
    with ending(programs):
        node = Program('mbv2ssd_ros.ros.node', [
            '--ros-args', '--params-file', str(params), '-p', 'autostart:=true',
            '-p', f'model_path:={model}'], environment, logs / 'detector.log')
        programs.append(node)
        viewer = Program('mbv2ssd_ros.tools.view_detections', [
            '--output', str(output), '--record', str(viewed), '--timeout', '3600'],
            environment, logs / 'view_detections.log')
        programs.append(viewer)
        # Large images need more shared memory than the default, on the sender's side.
        profile = shipped_path('config/fastdds_large_images.xml')
        player = Program('mbv2ssd_ros.tools.play_images', [
            str(args.images), '--rate', f'{args.rate:g}', '--subscribers', '2', '--count',
            str(args.rounds * len(images)), '--record', str(played)],
            {**environment, 'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile)},
            logs / 'play_images.log')
        programs.append(player)
        _watch(programs, played, viewed, args.timeout)
        codes = {program.name: program.end() for program in reversed(programs)}
    if any(codes.values()):
        raise ProcessError(f'not every program ended with exit code 0: {codes}; see {logs}')
    return frames_of(played, viewed)


def frames_of(played: Path, viewed: Path) -> list[DemoFrame]:
    """
    Match what was played with what was seen, by stamp.

    Args:
        played: the record of play_images.
        viewed: the record of view_detections.

    Returns:
        Every frame that was played, in order.
    """
    answers = {line['stamp_ns']: line for line in _lines(viewed)}
    return [DemoFrame(line['name'], answers.get(line['stamp_ns'])) for line in _lines(played)]


def best_frames(frames: Sequence[DemoFrame]) -> dict[str, DemoFrame]:
    """
    Choose a frame for each image: the one with the surest detection.

    Args:
        frames: every frame that was played.

    Returns:
        By image name, in the order in which they were played.
    """
    best: dict[str, DemoFrame] = {}
    for frame in frames:
        known = best.get(frame.image_name)
        if known is None or max(frame.scores, default=-1.0) > max(known.scores, default=-1.0):
            best[frame.image_name] = frame
    return best


def write_contact_sheet(seen: dict[str, DemoFrame], output: Path) -> None:
    """
    Put the annotated pictures of all images into one.

    Args:
        seen: a frame for each image.
        output: folder of the pictures.

    Raises:
        ProcessError: an annotated picture is missing.
    """
    pictures = []
    for frame in seen.values():
        if frame.viewed is not None:
            path = output / frame.viewed['file']
            picture = cv2.imread(str(path))
            if picture is None:
                raise ProcessError(
                    f'{path}: the annotated picture of {frame.image_name} is missing; see '
                    f'{output / "log" / "view_detections.log"}')
            pictures.append((frame.caption(), np.asarray(picture, dtype=np.uint8)))
    sheet = output / CONTACT_SHEET
    if pictures and not cv2.imwrite(str(sheet), contact_sheet(pictures)):
        raise ProcessError(f'{sheet} cannot be written; is the disk full?')


def _inputs(args: argparse.Namespace) -> tuple[list[str], Path, Path]:
    """Return the names of the images that can be played, the model and the parameter file."""
    if args.images is None:
        args.images = shipped_path('config/demo/images')
    source = open_source(args.images)
    images = [frame.name for frame in source]
    if not images:
        raise ConfigError(f'--images {args.images}: not one of the images can be decoded')
    model = find_model(args.model).resolve()
    if not model.is_file():
        raise ConfigError(f'--model {model}: no such file; expected an ONNX file made by '
                          '`mbv2ssd_train export`')
    return images, model, shipped_path('config/detector.yaml')


def _clear(output: Path) -> None:
    """Make the folder and remove what an earlier demo left there, nothing else."""
    try:
        (output / 'log').mkdir(parents=True, exist_ok=True)
        for old in (*output.glob('frame_[0-9]*.png'), output / CONTACT_SHEET,
                    output / 'log' / 'viewed.jsonl', output / 'log' / 'played.jsonl'):
            old.unlink(missing_ok=True)
    except OSError as err:
        raise ConfigError(f'--output {output}: {err}') from err


def _watch(programs: Sequence[Program], played: Path, viewed: Path, timeout_s: float) -> None:
    """Show the viewer's lines until every frame is answered, or no answer comes any more."""
    node, viewer, player = programs
    lines = _new_lines(viewer.log_file)
    deadline = time.monotonic() + timeout_s
    wanted = None  # answers: as many as there were frames, known once the player has ended
    while True:
        for program in programs:
            program.check()
        for line in next(lines):
            print(f'  {line}', flush=True)
            deadline = max(deadline, time.monotonic() + timeout_s)
        answered = len(_lines(viewed))
        if wanted is None and player.process.poll() is not None:
            wanted = len(_lines(played))
            deadline = time.monotonic() + LAST_ANSWER_S
        if wanted is not None and (answered >= wanted or time.monotonic() > deadline):
            return
        if time.monotonic() > deadline:
            raise ProcessError(
                f'no detections within {timeout_s:g} s; the detector: {node.tail()}')
        time.sleep(_POLL_S)


def _new_lines(path: Path) -> Iterator[list[str]]:
    """Yield the whole lines added to a file since the last time."""
    with path.open() as file:
        rest = ''
        while True:
            *whole_lines, rest = (rest + file.read()).split('\n')
            yield whole_lines


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; none where the file is not there yet; without one half written."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True)
            if line.endswith('\n')]


def _report(frames: Sequence[DemoFrame], seen: dict[str, DemoFrame], output: Path) -> None:
    answered = [frame.viewed for frame in frames if frame.viewed is not None]
    for frame in seen.values():
        _say(frame.caption())
    if missed := [name for name, frame in seen.items() if not frame.scores]:
        raise ProcessError(
            f'nothing was detected in {", ".join(missed)}: {len(answered)} of {len(frames)} '
            f'frames were answered; see {output}')
    latency_ms = statistics.median(frame['latency_ms'] for frame in answered)
    _say(f'detections in all {len(seen)} images; {len(answered)} of {len(frames)} frames '
         f'answered, latency median {latency_ms:.1f} ms')
    _say(f'see {output / CONTACT_SHEET}')


def _say(text: str) -> None:
    print(f'{PROGRAM}: {text}', flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='', metavar='FILE',
                        help='ONNX file (default: the model shipped with the package)')
    parser.add_argument('--images', type=Path, metavar='PATH',
                        help='image folder or image (default: the demo images of the package)')
    parser.add_argument('--output', type=Path, default=Path('demo_out'), metavar='FOLDER',
                        help='gets the annotated pictures (default %(default)s)')
    parser.add_argument('--rate', type=positive, default=10.0, metavar='HZ',
                        help='of the camera (default %(default)g)')
    parser.add_argument('--rounds', type=whole, default=3, metavar='N',
                        help='how often each image is played (default %(default)s)')
    parser.add_argument('--timeout', type=positive, default=30.0, metavar='S',
                        help='how long the first detections may take (default %(default)g)')
    parser.add_argument('--domain-id', type=domain_id, metavar='0..101',
                        help='ROS_DOMAIN_ID of the three programs (default: one of their own)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
