"""The topics of a node, checked before they are created."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.parameters import CameraParams


def check_topics(node: Node, cameras: Sequence[CameraParams]) -> None:
    """Raise ConfigError for invalid names and topics with two uses, also by the node itself."""
    used = {publisher.topic_name: 'the node itself' for publisher in node.publishers}
    for camera in cameras:
        parameter = f'{camera.name}.detections_topic'
        for topic in camera.output_topics:
            full = _full_name(node, parameter, topic)
            if full in used:
                raise ConfigError(
                    f'{parameter} is {camera.detections_topic!r}, but {full} is a topic of '
                    f'{used[full]}; each camera needs its own')
            used[full] = f'the output of {camera.name}'
    for camera in cameras:
        parameter, use = f'{camera.name}.image_topic', f'{camera.transport} images'
        full = _full_name(node, parameter, camera.image_topic)
        if used.setdefault(full, use) != use:
            raise ConfigError(
                f'{parameter} is {camera.image_topic!r}, but {full} is a topic of {used[full]}, '
                f'expected one of {use}')


def _full_name(node: Node, parameter: str, topic: str) -> str:
    try:
        return str(node.resolve_topic_name(topic))
    except (ValueError, RuntimeError) as err:
        raise ConfigError(f'{parameter} is {topic!r}, not a topic name: {err}') from err
