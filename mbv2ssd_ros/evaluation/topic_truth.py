"""Annotated frames from Detection2DArray topics of the bag itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbv2ssd_ros.core.annotations import Annotation, check_object
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.evaluation.bag import Bag
from mbv2ssd_ros.evaluation.detection_content import found_in
from mbv2ssd_ros.evaluation.frame_names import frame_name, FrameKey
from mbv2ssd_ros.evaluation.ground_truth import AnnotatedFrames
from mbv2ssd_ros.evaluation.message_types import DETECTIONS
from mbv2ssd_ros.evaluation.truth_frames import AnnotatedFrame


def read_topic_annotations(bag: Bag, topics: Sequence[str], truth_topics: Sequence[str],
                           clock: str = 'header') -> AnnotatedFrames:
    """
    Read one annotation topic for each image topic; scores do not matter. clock: see read_frames.

    DataError: the bag lacks a topic, it is of another type, or a message cannot be read.
    """
    bag.require(truth_topics, (DETECTIONS,))
    image_topic = dict(zip(truth_topics, topics, strict=True))
    frames: list[AnnotatedFrame] = []
    for message in bag.messages(truth_topics):
        where = f'{bag.path}: {message.topic}'
        if message.content is None:
            raise DataError(f'{where}: {message.fault}')
        stamp = message.log_ns if clock == 'recorded' else stamp_ns(message.content.header)
        topic = image_topic[message.topic]
        objects = [check_object(Annotation(name, box, False, f'{where}: {stamp} ns'), None)
                   for name, _, box in found_in(message.content)]
        frames.append(AnnotatedFrame(
            name=frame_name(topic, stamp), key=FrameKey(topic, stamp, None), size_hw=None,
            boxes_xyxy=np.array([item.xyxy for item in objects], np.float32).reshape(-1, 4),
            names=tuple(item.name for item in objects),
            difficult=np.zeros(len(objects), bool)))
    name = ', '.join(truth_topics)
    return AnnotatedFrames(f'{bag.path}: {name}', name, tuple(frames))
