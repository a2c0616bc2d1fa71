"""
Label the frames of a recording with a model, for correction by people and training after that.

Writes images, COCO JSON for CVAT, FiftyOne and others, and a dataset.yaml that mbv2ssd_train
reads. Needs no ROS installation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re
import sys

from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.core.arguments import seconds, share
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bags.frames import CLOCKS, image_topics
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.runs.labelled_frames import DESCRIPTION, FORMATS, LabelledFrames
from mbv2ssd_ros.evaluation.runs.labels import label, LabelCounts
from mbv2ssd_ros.evaluation.runs.task import INTERRUPTED
from mbv2ssd_ros.shipped import find_model
from mbv2ssd_ros.tools.cli.model_settings import ModelSettings
from mbv2ssd_ros.tools.cli.program import INTERRUPTED_CODE, log, run
from mbv2ssd_ros.tools.cli.progress import frame_progress
from mbv2ssd_ros.tools.cli.settings import flag, option, read, topics_option

PROGRAM = 'label_bag'


def _split(text: str) -> str:
    # the characters that `mbv2ssd_train --split` takes for a name
    if not re.fullmatch(r'[A-Za-z0-9_][A-Za-z0-9_.-]*', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a name of letters, digits, ., _ and -')
    return text


@dataclass(frozen=True, kw_only=True)
class Settings(ModelSettings):
    """Which frames are labelled, by which model, and what is written."""

    bag: Path = option(type=Path, help='folder of a rosbag2, a .mcap, .db3 or .bag file')
    topic: list[str] = topics_option('the only one of the bag')
    output: Path | None = option(
        '--output', type=Path, metavar='FOLDER',
        help='data set; may have other splits already (default: BAG_labels)')
    split: str = option('--split', type=_split, default='train', metavar='NAME', help='part of '
                        'the data set that the frames become (default %(default)s)')
    every: float = option('--every', type=seconds, default=1.0, metavar='S',
                          help='least time between two frames of a camera, since neighbours show '
                          'the same; 0: every frame (default %(default)g)')
    score_threshold: float = option(
        '--score-threshold', type=share, default=DetectionSettings.score_threshold,
        metavar='SCORE', help='from which an object gets a box (default %(default)s)')
    only_with_objects: bool = flag(
        '--only-with-objects', 'leave out frames in which nothing is found')
    format: str = option('--format', choices=FORMATS, default='jpg', help='of raw images; '
                         'compressed ones stay as recorded (default %(default)s)')
    clock: str = option('--clock', choices=CLOCKS, default='header',
                        help='stamps of the cameras, or times of recording (default %(default)s)')


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the program.

    The exit code is 1 after an error or a bag that ends early; 130 when interrupted.
    """
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  label_bag monday/ --output my_data\n'
        '  label_bag tuesday/ --output my_data --split val\n'
        'docs/bags.md has the whole way from a recording to a better model.')
    return run(PROGRAM, lambda: _label(settings))


def _label(settings: Settings) -> int:
    output = settings.output or Path(f'{settings.bag.resolve().stem}_labels')
    with Bag(settings.bag) as bag:
        topics = image_topics(bag, settings.topic)
        backend = open_backend(settings.backend, find_model(settings.model),
                               BackendOptions(ort=OrtOptions(threads=settings.threads)))
        detector = Detector(backend, DetectionSettings(
            score_threshold=settings.score_threshold, nms_iou=settings.nms_iou,
            max_detections=settings.max_detections))
        labelled = LabelledFrames(
            output, settings.split, backend.contract.object_names, settings.format)
        total = sum(topic.count for topic in bag.topics if topic.name in topics)
        counts = label(bag, topics, detector, labelled, settings.every,
                       settings.only_with_objects, settings.clock,
                       frame_progress(settings.bag.name, 0, total))
    print(_summary(counts, labelled, output, settings.split))
    if counts.first_error:
        print(f'first error: {counts.first_error}')
    if counts.incomplete_because:
        log(PROGRAM, f'incomplete: {counts.incomplete_because}')
        return INTERRUPTED_CODE if counts.incomplete_because.startswith(INTERRUPTED) else 1
    if not len(labelled):
        raise DataError(f'{settings.bag}: not one of its {counts.read} frames was labelled')
    return 0


def _summary(counts: LabelCounts, labelled: LabelledFrames, output: Path, split: str) -> str:
    left = {'skipped': counts.skipped, 'without object': counts.without_object,
            **dict(sorted(counts.failed.items()))}
    return (f'{counts.read} frames read, {len(labelled)} labelled with {labelled.objects} boxes'
            + ''.join(f', {count} {what}' for what, count in left.items() if count)
            + (f'\nsee {output / DESCRIPTION}, {output / f"{split}.json"} and '
               f'{output / "images" / split}' if len(labelled) else ''))


if __name__ == '__main__':
    sys.exit(main())
