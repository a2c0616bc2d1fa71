"""The annotated frames of a bag, from COCO JSON, VOC XML or a topic, and the frames they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.metrics import GroundTruth
from mbv2ssd_ros.core.stamps import stamp_text
from mbv2ssd_ros.evaluation.bags.frame_names import base_topic, FrameKey
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.truth.frames import (
    AnnotatedFrame,
    read_coco_frames,
    read_voc_frame,
)
from mbv2ssd_ros.evaluation.truth.pairing import pair_by_index, pair_by_stamp, Pairing


@dataclass(frozen=True)
class AnnotatedFrames:
    """All annotated frames of one source."""

    source: str  # file or topic, for messages
    name: str  # of the source, without its folder
    frames: tuple[AnnotatedFrame, ...]  # all named by stamp, or all by index

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError(f'{self.source}: annotates no frame')

    @property
    def by_index(self) -> bool:
        """Whether frames are named by their number, not by stamp."""
        return self.frames[0].key.index is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of all objects, sorted."""
        return tuple(sorted({name for frame in self.frames for name in frame.names}))

    def require_classes(self, class_names: Sequence[str]) -> None:
        """Raise DataError where an object is of none of these classes."""
        for frame in self.frames:
            for name in frame.names:
                if name not in class_names:
                    raise DataError(
                        f'{self.source}: {frame.name} has an object of class {name!r}, which is '
                        f'not one of those measured: {", ".join(class_names)}. Rename or remove '
                        'these objects, or take a model that knows the class')


def read_annotated_frames(path: Path, topics: Sequence[str]) -> AnnotatedFrames:
    """
    Read a COCO JSON file, a VOC XML file, or a folder of these with its subfolders.

    topics are all image topics of the bag. DataError: missing, of another form, or frames that
    are not identified uniquely.
    """
    if path.is_dir():
        frames = [read_voc_frame(file, topics) for file in sorted(path.rglob('*.xml'))]
        if not frames:
            raise DataError(f'{path}: has no *.xml; expected a folder of VOC annotations or a '
                            'COCO JSON file')
    elif path.suffix.lower() == '.xml':
        frames = [read_voc_frame(path, topics)]
    else:
        frames = read_coco_frames(path, topics)
    _check_keys(str(path), frames)
    return AnnotatedFrames(str(path), path.name, tuple(frames))


def _check_keys(source: str, frames: Sequence[AnnotatedFrame]) -> None:
    seen: dict[FrameKey, str] = {}
    for frame in frames:
        first = frames[0]
        if (frame.key.index is None) != (first.key.index is None):
            raise DataError(f'{source}: {first.name!r} and {frame.name!r} name frames in '
                            'different ways, one by stamp and one by number; use one of them')
        if frame.key in seen:
            raise DataError(f'{source}: {seen[frame.key]!r} and {frame.name!r} name the same '
                            'frame')
        seen[frame.key] = frame.name


def pair(annotated: AnnotatedFrames, frames: Sequence[FrameRecord], topics: Sequence[str],
         tolerance_ns: int) -> Pairing:
    """
    Pair frames of the topics measured with annotations; those of other topics are ignored.

    Returns indices of frames and of annotated.frames. DataError: an annotation does not name
    which of several topics it means, or nothing pairs at all.
    """
    pairs: list[tuple[int, int]] = []
    of_topics: set[int] = set()
    for topic in topics:
        of_frames = [i for i, frame in enumerate(frames) if frame.topic == topic]
        annotations = list(_of_topic(annotated, topic, topics))
        of_topics.update(annotations)
        found = _pair_topic(annotated, [frames[i] for i in of_frames], annotations, tolerance_ns)
        pairs += [(of_frames[a], annotations[b]) for a, b in found.pairs]
    if not pairs:
        raise DataError(_nothing_pairs(annotated, frames, tolerance_ns))
    return Pairing.of(sorted(pairs), range(len(frames)), sorted(of_topics))


def _of_topic(annotated: AnnotatedFrames, topic: str, topics: Sequence[str]) -> Iterator[int]:
    for index, frame in enumerate(annotated.frames):
        if frame.key.topic is None and len(topics) > 1:
            raise DataError(
                f'{annotated.source}: {frame.name!r} does not say which of the topics '
                f'{", ".join(topics)} it means; put the topic in front of the stamp '
                '(front__image_raw-1700000000_123456789) or into a folder of that name')
        named = frame.key.topic
        # both show the same, unless both are measured
        if named in (None, topic) or named not in topics and (
                base_topic(str(named)) == base_topic(topic)):
            yield index


def _pair_topic(annotated: AnnotatedFrames, frames: Sequence[FrameRecord],
                annotations: Sequence[int], tolerance_ns: int) -> Pairing:
    keys = [annotated.frames[i].key for i in annotations]
    if annotated.by_index:
        return pair_by_index([frame.index for frame in frames],
                             [key.index for key in keys if key.index is not None])
    return pair_by_stamp([frame.stamp_ns for frame in frames],
                         [key.stamp_ns for key in keys if key.stamp_ns is not None],
                         tolerance_ns)


def _nothing_pairs(annotated: AnnotatedFrames, frames: Sequence[FrameRecord], tolerance_ns: int
                   ) -> str:
    keys = [frame.key for frame in annotated.frames]
    if annotated.by_index:
        numbers = [key.index for key in keys if key.index is not None]
        return (f'{annotated.source}: no annotation matches a frame: annotations have the numbers '
                f'{min(numbers)} to {max(numbers)}, the bag has {len(frames)} frames')
    theirs = _span([key.stamp_ns for key in keys if key.stamp_ns is not None])
    ours = _span([frame.stamp_ns for frame in frames]) if frames else 'none at all'
    return (f'{annotated.source}: no annotation matches a frame within '
            f'{tolerance_ns / 1e6:g} ms: annotations have the stamps {theirs}, the frames have '
            f'{ours}. Are they of another recording, or should stamps be taken from the time of '
            'recording (--clock recorded) or from topics of the same name?')


def _span(stamps_ns: Sequence[int]) -> str:
    return f'{stamp_text(min(stamps_ns))} to {stamp_text(max(stamps_ns))}'


def ground_truth(frame: AnnotatedFrame, class_names: Sequence[str]) -> GroundTruth:
    """Label an annotated frame, boxes in pixels: label k is class_names[k - 1]."""
    labels = [class_names.index(name) + 1 for name in frame.names]
    return GroundTruth(frame.boxes_xyxy, np.array(labels, np.intp), frame.difficult)
