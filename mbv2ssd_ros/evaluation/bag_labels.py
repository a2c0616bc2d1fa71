"""Labels for the frames of a bag, made by a model for people to correct."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import BackendError, DataError, UnsupportedImageError
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bag import Bag
from mbv2ssd_ros.evaluation.bag_frames import BagFrame, read_frames
from mbv2ssd_ros.evaluation.bag_task import INTERRUPTED
from mbv2ssd_ros.evaluation.labelled_frames import LabelledFrames
from mbv2ssd_ros.frames import BACKEND_ERROR, UNDECODABLE

DUPLICATE = 'duplicate_stamp'


@dataclass
class LabelCounts:
    """What became of the frames of a bag."""

    read: int = 0
    passed_over: int = 0  # too soon after the last one
    without_object: int = 0  # left out, where that was asked for
    failed: dict[str, int] = field(default_factory=dict)  # by reason
    first_error: str = ''
    incomplete_because: str = ''

    def fail(self, reason: str, error: str) -> None:
        """
        Count a frame that cannot be labelled.

        Args:
            reason: of it.
            error: what exactly was wrong.
        """
        self.failed[reason] = self.failed.get(reason, 0) + 1
        self.first_error = self.first_error or error


def label(bag: Bag, topics: Sequence[str], detector: Detector, labelled: LabelledFrames,
          every_s: float, only_with_objects: bool, clock: str,
          progress: Callable[[Iterator[BagFrame]], Iterator[BagFrame]] = iter) -> LabelCounts:
    """
    Label frames of a bag and finish the data set.

    Ctrl-C, a full disk and a damaged bag end it; what was labelled until then is a data set all
    the same.

    Args:
        bag: open.
        topics: of images.
        detector: with the threshold from which an object gets a box.
        labelled: gets the frames.
        every_s: least time between two frames of a camera; 0: every frame.
        only_with_objects: leave out frames in which nothing is found.
        clock: see read_frames.
        progress: wraps the frames.

    Returns:
        What became of the frames.

    Raises:
        DataError: not even the labels that there are can be written.
    """
    counts = LabelCounts()
    last_ns: dict[str, int] = {}
    frames = _until_damage(read_frames(bag, topics, clock), counts)
    try:
        for frame in progress(frames):
            counts.read += 1
            since_ns = frame.stamp_ns - last_ns.get(frame.topic, -10 ** 18)
            if 0 <= since_ns < round(every_s * 1e9):
                counts.passed_over += 1
            elif _label_frame(frame, detector, labelled, only_with_objects, counts):
                last_ns[frame.topic] = frame.stamp_ns
    except KeyboardInterrupt:
        counts.incomplete_because = f'{INTERRUPTED} after {counts.read} frames'
    except DataError as err:  # of an image that cannot be written: the disk is full
        counts.incomplete_because = str(err)
    labelled.finish()
    return counts


def _until_damage(frames: Iterator[BagFrame], counts: LabelCounts) -> Iterator[BagFrame]:
    while True:
        try:
            frame = next(frames, None)
        except DataError as err:
            counts.incomplete_because = str(err)
            return
        if frame is None:
            return
        yield frame


def _label_frame(frame: BagFrame, detector: Detector, labelled: LabelledFrames,
                 only_with_objects: bool, counts: LabelCounts) -> bool:
    """Tell whether the frame was taken."""
    if labelled.has(frame):
        counts.fail(DUPLICATE, 'its topic has a frame with this stamp already')
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
