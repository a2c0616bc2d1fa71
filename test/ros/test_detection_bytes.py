"""Detections as the bytes of messages: what a subscriber reads is what rclpy would have sent."""

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.ros import detection_bytes
from mbv2ssd_ros.ros.detection_bytes import DetectionBytes, message_maker
from mbv2ssd_ros.ros.detection_messages import DetectionMessages

NAMES = ('background', 'cat', 'Zürich', '猫', 'x' * 300, 'traffic light', 'a', '')


def detections(count):
    """Make detections of every class in turn, with numbers that a mix-up would show."""
    numbers = np.random.default_rng(count).uniform(0, 700, (count, 5)).astype(np.float32)
    return Detections(numbers[:, :4], numbers[:, 4] / 700, np.arange(count) % len(NAMES))


def header(frame_id='lens', sec=1_700_000_000, nanosec=999_999_999):
    """Make a header."""
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = sec, nanosec
    return made


def assert_read_as_sent_by_rclpy(found, head):
    """Compare with the message that rclpy makes and serialises."""
    written = DetectionBytes(NAMES).message(found, head)
    by_rclpy = serialize_message(DetectionMessages(NAMES).message(found, head))
    assert len(written) == len(by_rclpy)
    assert deserialize_message(written, Detection2DArray) == deserialize_message(
        by_rclpy, Detection2DArray)


def test_ids_of_tracks():
    found = detections(5)
    tracked = Detections(found.boxes_xyxy, found.scores, found.labels,
                         ids=np.array([1, 0, 23, 456_789, 0]))
    assert_read_as_sent_by_rclpy(tracked, header())
    message = deserialize_message(DetectionBytes(NAMES).message(tracked, header()),
                                  Detection2DArray)
    assert [part.id for part in message.detections] == ['1', '', '23', '456789', '']


@pytest.mark.parametrize('count', [0, 1, 2, 3, 8, 100])
def test_any_number_of_detections(count):
    assert_read_as_sent_by_rclpy(detections(count), header())


# every length modulo 8 puts the numbers behind it elsewhere
@pytest.mark.parametrize('frame_id', ['lens'[:n] + 'é' * (n > 4) for n in range(9)] + ['r/' * 99])
def test_any_frame_id(frame_id):
    assert_read_as_sent_by_rclpy(detections(8), header(frame_id))


@pytest.mark.parametrize(('sec', 'nanosec'), [(0, 0), (-1, 0), (2**31 - 1, 2**32 - 1)])
def test_any_stamp(sec, nanosec):
    assert_read_as_sent_by_rclpy(detections(2), header(sec=sec, nanosec=nanosec))


def test_bytes_are_written_where_the_middleware_reads_them():
    assert isinstance(message_maker(NAMES), DetectionBytes)


@pytest.mark.parametrize('wrong', [
    {'_NO_POSE': bytes(8 * 42)}, {'_NO_ID': b''}, {'_PLAIN_CDR_LITTLE_ENDIAN': bytes(4)}])
def test_a_middleware_that_reads_something_else_gets_messages(wrong, monkeypatch):
    # the same as a middleware with another layout: what it reads is not what was meant
    for name, value in wrong.items():
        monkeypatch.setattr(detection_bytes, name, value)
    assert isinstance(message_maker(NAMES), DetectionMessages)
