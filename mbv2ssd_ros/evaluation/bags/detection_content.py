"""Read and write Detection2DArray messages without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.stamps import split_stamp
from mbv2ssd_ros.evaluation.bags.channel import absolute
from mbv2ssd_ros.evaluation.bags.message_types import DETECTIONS, standard_types
from mbv2ssd_ros.evaluation.bags.reader import Bag, BagMessage

Found = tuple[str, float, tuple[float, float, float, float]]  # class, score, xyxy in pixels


def read_detections(bag: Bag, detection_topics: Sequence[str], topics: Sequence[str]
                    ) -> Iterator[tuple[str, BagMessage, list[Found]]]:
    """
    Yield the image topic, message and content of recorded detections.

    detection_topics has one topic for each of images. DataError: the bag lacks a topic, it is of
    another type, or a message cannot be read.
    """
    bag.require(detection_topics, (DETECTIONS,))
    image_topic = dict(zip(map(absolute, detection_topics), topics, strict=True))
    for message in bag.messages(detection_topics, (DETECTIONS,)):
        if message.content is None:
            raise DataError(f'{bag.path}: {message.topic}: {message.fault}')
        yield image_topic[message.topic], message, found_in(message.content)


def found_in(content: Any) -> list[Found]:
    """
    Read the best hypothesis of each detection that has one.

    content is a Detection2DArray of vision_msgs 4.x or an earlier version.
    """
    found = []
    for detection in content.detections:
        guesses = [_hypothesis(result) for result in detection.results]
        if guesses:
            name, score = max(guesses, key=lambda guess: guess[1])
            found.append((name, score, _box(detection.bbox)))
    return found


def _hypothesis(result: Any) -> tuple[str, float]:
    inner = getattr(result, 'hypothesis', result)  # flat before vision_msgs 3
    name = inner.class_id if hasattr(inner, 'class_id') else inner.id
    return str(name), float(inner.score)


def _box(bbox: Any) -> tuple[float, float, float, float]:
    centre = getattr(bbox.center, 'position', bbox.center)  # flat before vision_msgs 4
    half_width, half_height = bbox.size_x / 2, bbox.size_y / 2
    return (float(centre.x - half_width), float(centre.y - half_height),
            float(centre.x + half_width), float(centre.y + half_height))


def detections_of(found: Sequence[Found], class_names: Sequence[str], where: str) -> Detections:
    """Label what found_in read, in its order: label k is class_names[k - 1]."""
    for name, _, _ in found:
        if name not in class_names:
            raise DataError(f'{where}: a detection of class {name!r}, which is not one of '
                            f'{", ".join(class_names)}; name all classes with --classes')
    return Detections(
        np.array([box for _, _, box in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([class_names.index(name) + 1 for name, _, _ in found], np.intp))


def detections_content(detections: Detections, class_names: Sequence[str], header: Any) -> Any:
    """
    Return a Detection2DArray of rosbags, as the node publishes it, with the image's header.

    detections are in pixels; label k is class_names[k - 1].
    """
    types = standard_types().types
    pose = _no_pose(types)
    items = []
    for (x1, y1, x2, y2), score, label in zip(
            detections.boxes_xyxy.tolist(), detections.scores.tolist(),
            detections.labels.tolist(), strict=True):
        centre = types['vision_msgs/msg/Pose2D'](types['vision_msgs/msg/Point2D'](
            0.5 * (x1 + x2), 0.5 * (y1 + y2)), 0.0)
        hypothesis = types['vision_msgs/msg/ObjectHypothesis'](class_names[label - 1], score)
        items.append(types['vision_msgs/msg/Detection2D'](
            header, [types['vision_msgs/msg/ObjectHypothesisWithPose'](hypothesis, pose)],
            types['vision_msgs/msg/BoundingBox2D'](centre, x2 - x1, y2 - y1), ''))
    return types[DETECTIONS](header, items)


def header_content(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs/Header of rosbags."""
    types = standard_types().types
    stamp = types['builtin_interfaces/msg/Time'](*split_stamp(stamp_ns))
    return types['std_msgs/msg/Header'](stamp, frame_id)


def _no_pose(types: Any) -> Any:
    pose = types['geometry_msgs/msg/Pose'](
        types['geometry_msgs/msg/Point'](0.0, 0.0, 0.0),
        types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0))
    return types['geometry_msgs/msg/PoseWithCovariance'](pose, np.zeros(36))
