"""Annotated frames from Detection2DArray topics of the bag itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbv2ssd_ros.core.annotations import Annotation, check_object
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.evaluation.bags.detection_content import read_detections
from mbv2ssd_ros.evaluation.bags.frame_names import frame_name, FrameKey
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.truth.frames import AnnotatedFrame
from mbv2ssd_ros.evaluation.truth.ground_truth import AnnotatedFrames


def read_topic_annotations(bag: Bag, topics: Sequence[str], truth_topics: Sequence[str],
                           clock: str = 'header') -> AnnotatedFrames:
    """Read one topic for each image topic, whatever the scores; clock: see read_frames."""
    frames: list[AnnotatedFrame] = []
    for topic, message, found in read_detections(bag, truth_topics, topics):
        stamp = message.log_ns if clock == 'recorded' else stamp_ns(message.content.header)
        where = f'{bag.path}: {message.topic}: {stamp} ns'
        objects = [check_object(Annotation(name, box, False, where), None)
                   for name, _, box in found]
        frames.append(AnnotatedFrame(
            name=frame_name(topic, stamp), key=FrameKey(topic, stamp, None), size_hw=None,
            boxes_xyxy=np.array([item.xyxy for item in objects], np.float32).reshape(-1, 4),
            names=tuple(item.name for item in objects),
            difficult=np.zeros(len(objects), bool)))
    name = ', '.join(truth_topics)
    return AnnotatedFrames(f'{bag.path}: {name}', name, tuple(frames))
