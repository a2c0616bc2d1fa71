"""Label the frames of a bag with a model, to be corrected by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import BackendError, DataError, UnsupportedImageError
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bags.frames import BagFrame, read_frames
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.runs.labelled_frames import LabelledFrames
from mbv2ssd_ros.evaluation.runs.task import INTERRUPTED
from mbv2ssd_ros.frames import BACKEND_ERROR, UNDECODABLE

DUPLICATE = 'duplicate_stamp'


@dataclass
class LabelCounts:
    """What happened to the frames of a bag."""

    read: int = 0
    skipped: int = 0  # too soon after the last one
    without_object: int = 0  # left out, where that was asked for
    failed: Counter[str] = field(default_factory=Counter)  # by reason
    first_error: str = ''
    incomplete_because: str = ''

    def fail(self, reason: str, error: str) -> None:
        """Count a frame that cannot be labelled."""
        self.failed[reason] += 1
        self.first_error = self.first_error or error


def label(bag: Bag, topics: Sequence[str], detector: Detector, labelled: LabelledFrames,
          every_s: float, only_with_objects: bool, clock: str,
          progress: Callable[[Iterator[BagFrame]], Iterator[BagFrame]] = iter) -> LabelCounts:
    """
    Label frames of a bag and finish the data set.

    Ctrl-C, a full disk and a damaged bag end it early; what is labelled by then is a valid
    data set.

    The score threshold of the detector decides what gets a box; every_s is the least time between
    two labelled frames of a camera, 0 for every frame; clock: see read_frames. DataError: the
    annotations cannot be written.
    """
    counts = LabelCounts()
    last_ns: dict[str, int] = {}
    frames = _until_damage(read_frames(bag, topics, clock), counts)
    try:
        for frame in progress(frames):
            counts.read += 1
            since_ns = frame.stamp_ns - last_ns.get(frame.topic, -10 ** 18)
            if since_ns == 0:
                counts.fail(DUPLICATE, f'{frame.topic} has the stamp {frame.stamp_ns} ns twice; '
                            '--clock recorded takes the times of recording')
            elif 0 < since_ns < round(every_s * 1e9):
                counts.skipped += 1
            elif _label_frame(frame, detector, labelled, only_with_objects, counts):
                last_ns[frame.topic] = frame.stamp_ns
    except KeyboardInterrupt:
        counts.incomplete_because = f'{INTERRUPTED} after {counts.read} frames'
    except DataError as err:  # of an image that cannot be written: the disk is full
        counts.incomplete_because = str(err)
    labelled.finish()
    return counts


def _until_damage(frames: Iterator[BagFrame], counts: LabelCounts) -> Iterator[BagFrame]:
    try:
        yield from frames
    except DataError as err:
        counts.incomplete_because = str(err)


def _label_frame(frame: BagFrame, detector: Detector, labelled: LabelledFrames,
                 only_with_objects: bool, counts: LabelCounts) -> bool:
    """Label a frame; return whether it is in the data set now."""
    if labelled.has(frame):
        counts.fail(DUPLICATE, f'{frame.topic} has the stamp {frame.stamp_ns} ns twice; '
                    '--clock recorded takes the times of recording')
        return False
    try:
        image = frame.image()
        found = detector.detect([image])[0]
    except UnsupportedImageError as err:
        counts.fail(UNDECODABLE, str(err))
        return False
    except BackendError as err:
        counts.fail(BACKEND_ERROR, str(err))
        return False
    if only_with_objects and not len(found):
        counts.without_object += 1
        return False
    labelled.add(frame, image, Detections(
        found.boxes_xyxy, found.scores, found.labels + detector.contract.label_offset))
    return True
