"""
The whole path in one command: photographs on a camera topic, the detector, annotated pictures.

play_images, the detector node with config/detector.yaml, and view_detections run as three
processes and talk over ROS 2 topics in a domain of their own. Exit code 0 means that something
was detected in every image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import statistics
import sys
import time
from typing import Any

import cv2
import numpy as np

from mbv2ssd_ros.core.arguments import positive, whole
from mbv2ssd_ros.core.durable import whole_lines
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.shipped import shipped_path
from mbv2ssd_ros.tools.cli.processes import ending, ProcessError, Program, ros_environment
from mbv2ssd_ros.tools.cli.program import model_file, run, say
from mbv2ssd_ros.tools.cli.settings import (
    domain_option,
    model_option,
    option,
    read,
)
from mbv2ssd_ros.tools.playing.contact_sheet import contact_sheet
from mbv2ssd_ros.tools.playing.image_source import open_source

PROGRAM = 'demo'
CONTACT_SHEET = 'contact_sheet.png'
SLOWER = 5  # most images played, as a multiple of those needed
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is played, and where the pictures go."""

    model: str = model_option()
    images: Path | None = option('--images', type=Path, metavar='PATH',
                                 help='image folder or image (default: the demo images of the '
                                 'package)')
    output: Path = option('--output', type=Path, default=Path('demo_out'), metavar='FOLDER',
                          help='gets the annotated pictures (default %(default)s)')
    rate: float = option('--rate', type=positive, default=10.0, metavar='HZ',
                         help='of the camera (default %(default)g)')
    rounds: int = option('--rounds', type=whole, default=3, metavar='N',
                         help='how often each image is to be answered (default %(default)s)')
    timeout: float = option('--timeout', type=positive, default=30.0, metavar='S',
                            help='how long detections may take to come (default %(default)g)')
    domain_id: int | None = domain_option()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0 when every image had a detection."""
    settings = read(Settings, argv, PROGRAM, __doc__)
    return run(PROGRAM, lambda: _demo(settings))


def _demo(settings: Settings) -> None:
    source = settings.images or shipped_path('config/demo/images')
    images = [frame.name for frame in open_source(source)]
    if not images:
        raise ConfigError(f'--images {source}: not one of the images can be decoded')
    frames = play(settings, source, images)
    seen = best_frames(frames, images)
    pictures = [(frame.caption(), np.asarray(cv2.imread(str(frame.picture)), dtype=np.uint8))
                for frame in seen.values() if frame.picture is not None]
    sheet = settings.output / CONTACT_SHEET
    if pictures and not cv2.imwrite(str(sheet), contact_sheet(pictures)):
        raise ProcessError(f'{sheet} cannot be written; is the disk full?')
    _report(frames, seen, settings.output)


@dataclass(frozen=True)
class DemoFrame:
    """One image that was played, and the viewer's result."""

    image_name: str
    answered: bool  # a detections message came, perhaps an empty one
    names: tuple[str, ...] = ()  # of the detections, best first
    scores: tuple[float, ...] = ()
    boxes_xyxy_px: tuple[tuple[float, ...], ...] = ()
    latency_ms: float = 0.0
    picture: Path | None = None  # annotated; None: it was not written

    def caption(self) -> str:
        """Caption such as 'dog.jpg: dog 0.93'."""
        if not self.answered:
            return f'{self.image_name}: no answer'
        found = ', '.join(f'{name} {score:.2f}'
                          for name, score in zip(self.names, self.scores, strict=True))
        return f'{self.image_name}: {found or "nothing"}'


def play(settings: Settings, source: Path, images: Sequence[str]) -> list[DemoFrame]:
    """
    Play the images of a source through the detector until each was answered --rounds times.

    Returns the played frames in order. Raises ProcessError with the end of the log when a program
    failed or nothing came.
    """
    model, params = model_file(settings.model).resolve(), shipped_path('config/detector.yaml')
    output, logs = settings.output, settings.output / 'log'
    _clear(output)
    played, viewed = logs / 'played.jsonl', logs / 'viewed.jsonl'
    environment = ros_environment(logs, settings.domain_id)
    say(PROGRAM, f'{len(images)} images, model {model}')
    say(PROGRAM, f'ROS_DOMAIN_ID={environment["ROS_DOMAIN_ID"]}, so that it meets no other nodes '
        f'of this network (--domain-id chooses); logs in {logs}')
    programs: list[Program] = []
    with ending(programs):
        node = Program('mbv2ssd_ros.ros.node', [
            '--ros-args', '--params-file', str(params), '-p', 'autostart:=true',
            '-p', 'exit_on_failed_autostart:=true', '-p', f'model_path:={model}'],
            environment, logs / 'detector.log')
        programs.append(node)
        viewer = Program('mbv2ssd_ros.tools.view_detections', [
            '--output', str(output), '--record', str(viewed), '--timeout', '3600'],
            environment, logs / 'view_detections.log')
        programs.append(viewer)
        player = Program('mbv2ssd_ros.tools.play_images', [
            str(source), '--rate', f'{settings.rate:g}', '--subscribers', '2', '--loop',
            '--record', str(played)], environment, logs / 'play_images.log')
        programs.append(player)
        for _ in _answers(programs, settings.timeout):
            frames = frames_of(played, viewed, output)
            answered = Counter(frame.image_name for frame in frames if frame.answered)
            if (min(answered[name] for name in images) >= settings.rounds
                    or len(frames) >= SLOWER * settings.rounds * len(images)):
                break
        codes = {program.name: program.end() for program in reversed(programs)}
    if any(codes.values()):
        raise ProcessError(f'not every program ended with exit code 0: {codes}; see {logs}')
    return frames_of(played, viewed, output)


def frames_of(played: Path, viewed: Path, output: Path) -> list[DemoFrame]:
    """
    Match the records of play_images and view_detections by stamp.

    Returns every frame played from the first answer to the last, in order. Before the first one
    discovery was incomplete, after the last one the programs ended.
    """
    answers = {line['stamp_ns']: line for line in map(json.loads, whole_lines(viewed))}
    if not answers:
        return []
    first, last = min(answers), max(answers)
    return [_demo_frame(line['name'], answers.get(line['stamp_ns']), output)
            for line in map(json.loads, whole_lines(played)) if first <= line['stamp_ns'] <= last]


def best_frames(frames: Sequence[DemoFrame], images: Sequence[str]) -> dict[str, DemoFrame]:
    """
    Choose a frame for each image: one with a picture, then the one with the highest score.

    An image that was never answered has a frame without an answer.
    """
    best = {name: DemoFrame(name, answered=False) for name in images}
    for frame in frames:
        best[frame.image_name] = max(best[frame.image_name], frame, key=lambda found: (
            found.answered, found.picture is not None, max(found.scores, default=-1.0)))
    return best


def _demo_frame(name: str, answer: Mapping[str, Any] | None, output: Path) -> DemoFrame:
    if answer is None:
        return DemoFrame(name, answered=False)
    picture = output / answer['file']
    return DemoFrame(
        name, True, tuple(answer['names']), tuple(answer['scores']),
        tuple(tuple(box) for box in answer['boxes_xyxy_px']), answer['latency_ms'],
        picture if picture.is_file() else None)


def _clear(output: Path) -> None:
    """Make the folder and remove the files of an earlier demo, nothing else."""
    try:
        (output / 'log').mkdir(parents=True, exist_ok=True)
        for old in (*output.glob('frame_[0-9]*.png'), output / CONTACT_SHEET,
                    *(output / 'log').glob('*.jsonl')):
            old.unlink(missing_ok=True)
    except OSError as err:
        raise ConfigError(f'--output {output}: {err}') from err


def _answers(programs: Sequence[Program], timeout_s: float) -> Iterator[None]:
    """Print the viewer's lines; yield after each, raise an error where they do not come."""
    node, viewer, _ = programs
    deadline, rest = time.monotonic() + timeout_s, ''
    with viewer.log_file.open() as file:
        while True:
            for program in programs:
                program.check()
            *lines, rest = (rest + file.read()).split('\n')
            for line in lines:
                print(f'  {line}', flush=True)
                deadline = time.monotonic() + timeout_s
                yield
            if time.monotonic() > deadline:
                raise ProcessError(
                    f'no detections within {timeout_s:g} s; the detector: {node.tail()}')
            time.sleep(_POLL_S)


def _report(frames: Sequence[DemoFrame], seen: Mapping[str, DemoFrame], output: Path) -> None:
    for frame in seen.values():
        say(PROGRAM, frame.caption())
    answered = [frame for frame in frames if frame.answered]
    counted = f'{len(answered)} of {len(frames)} frames were answered'
    if missed := [name for name, frame in seen.items() if not frame.scores]:
        raise ProcessError(
            f'nothing was detected in {", ".join(missed)}; {counted}; see {output}')
    if missing := [name for name, frame in seen.items() if frame.picture is None]:
        raise ProcessError(f'no annotated picture of {", ".join(missing)} was written; see '
                           f'{output / "log" / "view_detections.log"}')
    latency_ms = statistics.median(frame.latency_ms for frame in answered)
    say(PROGRAM, f'detections in all {len(seen)} images; {counted}, latency median '
        f'{latency_ms:.1f} ms')
    say(PROGRAM, f'see {output / CONTACT_SHEET}')


if __name__ == '__main__':
    sys.exit(main())
