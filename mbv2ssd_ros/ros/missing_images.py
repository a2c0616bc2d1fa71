"""Why no images arrive: the publishers of a topic compared with what the node expects."""

from __future__ import annotations

from collections.abc import Iterable
import difflib
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from mbv2ssd_ros.ros.camera import Camera

_MOST_TOPICS = 5
_UNKNOWN_NODE = '_NODE_NAME_UNKNOWN_'  # of rmw_dds_common


def why_no_images(node: Node, camera: Camera) -> str:
    """Return the reason: what is on the topic, what was expected, what to set."""
    topic = camera.image_topic
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f'no publisher on {topic}{_other_topics(node, camera)}'
    wrong_type = [info for info in publishers if info.topic_type != _wanted_type(camera)]
    if len(wrong_type) == len(publishers):
        return (f'{_names(publishers)} publishes {wrong_type[0].topic_type} on {topic}, '
                f'{camera.params.name}.transport is {camera.params.transport!r} and expects '
                f'{_wanted_type(camera)}')
    if refused := incompatible_publishers(camera, publishers):
        return incompatible_qos(camera, refused)
    return (f'{_names(publishers)} is there on {topic} but sends nothing that arrives. Is the '
            'camera running? Large best-effort images are lost in the default shared memory: see '
            'config/fastdds_large_images.xml')


def incompatible_publishers(camera: Camera, publishers: Iterable[Any]) -> list[Any]:
    """Return the publishers whose reliability is too low for the subscription."""
    if camera.params.qos_reliability != 'reliable':
        return []  # best effort is compatible with all; so are the other policies
    return [info for info in publishers
            if info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT]


def incompatible_qos(camera: Camera, refused: Iterable[Any]) -> str:
    """Describe a mismatch in the quality of service, with the remedy."""
    name = camera.params.name
    return (f'{_names(refused)} offers BEST_EFFORT images on {camera.image_topic}, '
            f'{name}.qos_reliability asks for RELIABLE, so none arrives; set '
            f'{name}.qos_reliability to best_effort')


def _wanted_type(camera: Camera) -> str:
    return f'sensor_msgs/msg/{camera.message_type.__name__}'


def _names(publishers: Iterable[Any]) -> str:
    """Name each node once; a newly discovered one has no name at first."""
    return ', '.join(dict.fromkeys(
        'a node without a name' if info.node_name == _UNKNOWN_NODE
        else f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in publishers))


def _other_topics(node: Node, camera: Camera) -> str:
    wanted = _wanted_type(camera)
    others = [topic for topic, types in node.get_topic_names_and_types()
              if wanted in types and topic != camera.image_topic
              and node.count_publishers(topic) and not topic.endswith('/debug_image')]
    if not others:
        return f', nor {wanted} on any other topic'
    alike = difflib.get_close_matches(camera.image_topic, others, n=_MOST_TOPICS, cutoff=0.0)
    return f'; {wanted} is published on {", ".join(alike)}'
