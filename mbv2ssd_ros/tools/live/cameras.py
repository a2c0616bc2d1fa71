"""The cameras of a detector node for a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

from mbv2ssd_ros.core.errors import DataError

_ENDINGS = re.compile(r'/(image|image_raw|image_color|image_rect|image_rect_color|color|rgb|'
                      r'compressed)$')


@dataclass(frozen=True)
class BagCamera:
    """A topic of a bag as a camera of the node."""

    name: str
    image_topic: str
    transport: str  # raw or compressed
    frames: int  # in the bag


def cameras_of(bag: Path, topics: Sequence[str] = ()) -> tuple[BagCamera, ...]:
    """
    Make a camera, named after its topic, for each image topic; empty `topics`: all.

    Raises DataError when the bag cannot be read or has no such images, ConfigError without
    rosbags.
    """
    from mbv2ssd_ros.evaluation.bags.channel import absolute
    from mbv2ssd_ros.evaluation.bags.message_types import IMAGE_KINDS
    from mbv2ssd_ros.evaluation.bags.reader import Bag
    with Bag(bag) as opened:
        opened.require(topics, IMAGE_KINDS)
        topics = [absolute(topic) for topic in topics]
        found = [topic for topic in opened.topics if topic.kind in IMAGE_KINDS
                 and (not topics or topic.name in topics)]
        if not found:
            raise DataError(f'{bag}: has no topic with images; it has {opened.contents()}')
    cameras: dict[str, BagCamera] = {}
    for topic in found:
        require_ros2_name(topic.name)
        name = free = camera_name(topic.name)
        number = 2
        while free in cameras:
            free, number = f'{name}_{number}', number + 1
        transport = 'compressed' if topic.kind.endswith('/CompressedImage') else 'raw'
        cameras[free] = BagCamera(free, topic.name, transport, topic.count)
    return tuple(cameras.values())


def require_ros2_name(topic: str) -> None:
    """Raise DataError for a name of ROS 1 that ROS 2 does not allow."""
    if not re.fullmatch(r'(/[A-Za-z_][A-Za-z0-9_]*)+', topic):
        raise DataError(f'{topic}: ROS 2 has no such topic names (letters, digits and _, no digit '
                        'after /), so it cannot be played; choose others with --topic, or '
                        'evaluate_bag, which plays nothing')


def camera_name(topic: str) -> str:
    """Return robot_front for /robot/front/image_raw/compressed."""
    while (shorter := _ENDINGS.sub('', topic)) != topic:
        topic = shorter
    name = re.sub(r'\W+', '_', topic).strip('_')
    return name if re.match('[A-Za-z]', name) else f'camera_{name}'.rstrip('_')


def node_parameters(cameras: Sequence[BagCamera]) -> dict[str, Any]:
    """Return the cameras as values by full parameter name."""
    values: dict[str, Any] = {'cameras': [camera.name for camera in cameras]}
    for camera in cameras:
        values[f'{camera.name}.image_topic'] = camera.image_topic
        values[f'{camera.name}.transport'] = camera.transport
    return values
