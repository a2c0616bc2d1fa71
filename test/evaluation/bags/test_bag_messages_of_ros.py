"""What ROS serialises we read, and what we write ROS reads: the same bytes."""

import numpy as np
from rclpy import serialization
import sensor_msgs.msg as sensor_msgs
import std_msgs.msg as std_msgs
import vision_msgs.msg as vision_msgs

from helpers.bag_world import (
    CAMERA,
    cell_xyxy,
    compressed,
    detections,
    picture,
    RED,
    stamp,
    write_bag,
)
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.evaluation.bags.detection_content import found_in
from mbv2ssd_ros.evaluation.bags.frames import read_frames
from mbv2ssd_ros.evaluation.bags.message_types import (
    COMPRESSED_IMAGE,
    DETECTIONS,
    IMAGE,
    standard_types,
)
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.ros.detection_messages import DetectionMessages

FOUND = [(1, 0.75, cell_xyxy(1, 2)), (2, 0.5, cell_xyxy(2, 4))]


def from_ros(message):
    """Return what ROS puts into a bag."""
    return serialization.serialize_message(message)


def test_ros_reads_the_detections_that_we_write():
    data = standard_types().serialize_cdr(detections(FOUND, stamp(3)), DETECTIONS)
    message = serialization.deserialize_message(bytes(data), vision_msgs.Detection2DArray)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 3 * 10 ** 8)
    assert message.header.frame_id == message.detections[1].header.frame_id == 'cam'
    second = message.detections[1]
    assert (second.results[0].hypothesis.class_id, second.results[0].hypothesis.score) == (
        'green', 0.5)
    assert (second.bbox.center.position.x, second.bbox.size_y) == (72, 16)


def test_our_detections_are_those_that_the_node_publishes():
    header = std_msgs.Header(frame_id='cam')
    header.stamp.sec, header.stamp.nanosec = 1_700_000_000, 3 * 10 ** 8
    found = Detections(np.array([box for _, _, box in FOUND], np.float32),
                       np.array([0.75, 0.5], np.float32), np.array([1, 2]))
    node = DetectionMessages(['background', 'red', 'green']).message(found, header)
    types = standard_types()
    ours = types.serialize_cdr(detections(FOUND, stamp(3)), DETECTIONS)
    # written again, since ROS leaves anything in the bytes between fields
    theirs = types.serialize_cdr(types.deserialize_cdr(from_ros(node), DETECTIONS), DETECTIONS)
    assert bytes(ours) == bytes(theirs)


def test_we_read_what_ros_recorded(tmp_path):
    image = sensor_msgs.Image(height=64, width=96, encoding='bgr8', step=3 * 96)
    image.data.frombytes(picture((0, 0, RED)).tobytes())
    image.header.frame_id, image.header.stamp.sec = 'left', 7
    jpeg = sensor_msgs.CompressedImage(format='jpeg')
    jpeg.data.frombytes(compressed(picture((0, 0, RED)), 0, '.jpg').data.tobytes())
    array = serialization.deserialize_message(bytes(standard_types().serialize_cdr(
        detections(FOUND, stamp(0)), DETECTIONS)), vision_msgs.Detection2DArray)
    path = write_bag(tmp_path / 'bag', [
        (CAMERA, 1, (IMAGE, from_ros(image))), ('/jpeg', 2, (COMPRESSED_IMAGE, from_ros(jpeg))),
        ('/found', 3, (DETECTIONS, from_ros(array)))])
    with Bag(path) as bag:
        raw, encoded = read_frames(bag, [CAMERA, '/jpeg'])
        [message] = bag.messages(['/found'])
    assert (raw.frame_id, raw.stamp_ns) == ('left', 7 * 10 ** 9)
    np.testing.assert_array_equal(raw.image().pixels, picture((0, 0, RED)))
    assert encoded.image().size_hw == (64, 96)
    assert found_in(message.content) == [('red', 0.75, FOUND[0][2]), ('green', 0.5, FOUND[1][2])]
