"""The message types of bags, known without a ROS installation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mbv2ssd_ros.core.errors import missing_package

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
IMAGE_KINDS = (IMAGE, COMPRESSED_IMAGE)
DETECTIONS = 'vision_msgs/msg/Detection2DArray'

# vision_msgs 4.x, which rosbags does not have. Here too, because an installed package has no
# folder msg/ and reading bags needs no ROS installation.
_VISION_MSGS = {
    'vision_msgs/msg/Point2D': 'float64 x\nfloat64 y',
    'vision_msgs/msg/Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'vision_msgs/msg/BoundingBox2D':
        'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'vision_msgs/msg/ObjectHypothesis': 'string class_id\nfloat64 score',
    'vision_msgs/msg/ObjectHypothesisWithPose':
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose',
    'vision_msgs/msg/Detection2D':
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id',
    DETECTIONS: 'std_msgs/Header header\nvision_msgs/Detection2D[] detections',
}


def rosbags_library() -> Any:
    """Import rosbags with its readers, writer and type system; ConfigError where it is missing."""
    try:
        import rosbags.rosbag1
        import rosbags.rosbag2
        import rosbags.typesys
    except ImportError as err:
        raise missing_package('a bag', 'rosbags', 'bags', err) from err
    return rosbags


def mcap_library() -> Any:
    """Import mcap with its readers; ConfigError where it is missing."""
    try:
        import mcap.reader
        import mcap.records
        import mcap.stream_reader
    except ImportError as err:
        raise missing_package('an mcap file', 'mcap', 'bags', err) from err
    return mcap


@lru_cache(maxsize=2)
def standard_types(ros1: bool = False) -> Any:
    """Return a typestore with images and detections; ROS 1 has another header. Do not modify."""
    typesys = rosbags_library().typesys
    store = typesys.get_typestore(
        typesys.Stores.ROS1_NOETIC if ros1 else typesys.Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    for name, definition in _VISION_MSGS.items():
        types.update(typesys.get_types_from_msg(definition, name))
    store.register(types)
    return store


def types_of(definition: str, name: str, ros1: bool) -> Any:
    """
    Return a typestore with the type that a bag defines; the standard one without a definition.

    A definition has the format of .msg files, with those of all types that it uses.
    """
    if not definition:
        return standard_types(ros1)
    typesys = rosbags_library().typesys
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    store.register(typesys.get_types_from_msg(definition, name))
    return store


def full_name(name: str) -> str:
    """Complete sensor_msgs/Image, as early ROS 2 and ROS 1 wrote it, to sensor_msgs/msg/Image."""
    package, _, message = name.partition('/')
    return name if not message or '/' in message else f'{package}/msg/{message}'
