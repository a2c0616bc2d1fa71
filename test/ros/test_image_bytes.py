"""Image messages read from their bytes: what is seen is what rclpy would have read."""

import struct

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from mbv2ssd_ros.ros import image_bytes
from mbv2ssd_ros.ros.image_bytes import image_from_bytes, image_reader, ImageView


def image(frame_id='lens', encoding='mono16', count=42):
    """Make a message in which every number occurs once."""
    message = Image(height=2, width=9, encoding=encoding, is_bigendian=1, step=21)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = -3, 4_000_000_000
    message.data.frombytes(bytes(range(count)))
    return message


def assert_seen_as_sent(message):
    """Compare the view of a message's bytes with the message."""
    seen = image_from_bytes(serialize_message(message))
    assert isinstance(seen, ImageView)
    assert seen.header == message.header
    assert (seen.height, seen.width, seen.step) == (message.height, message.width, message.step)
    assert (seen.encoding, seen.is_bigendian) == (message.encoding, message.is_bigendian)
    assert bytes(seen.data) == message.data.tobytes()


# every length modulo 4 puts the numbers behind it elsewhere
@pytest.mark.parametrize('frame_id', ['lens'[:n] + 'é' * (n > 4) for n in range(9)] + ['r/' * 99])
def test_any_frame_id(frame_id):
    assert_seen_as_sent(image(frame_id=frame_id))


@pytest.mark.parametrize('encoding', ['', 'm', 'mo', 'mon', 'bgr8', 'bayer_rggb16', '猫'])
def test_any_encoding(encoding):
    assert_seen_as_sent(image(encoding=encoding))


@pytest.mark.parametrize('count', [0, 1, 2, 3, 255])
def test_any_number_of_bytes(count):
    assert_seen_as_sent(image(count=count))


def test_pixels_are_not_copied():
    sent = serialize_message(image())
    assert image_from_bytes(sent).data.obj is sent


def test_a_string_without_even_its_zero_is_empty():
    sent = bytearray(serialize_message(image(frame_id='abc')))
    sent[12:20] = struct.pack('<I', 0)  # some vendors write an empty string so
    assert image_from_bytes(bytes(sent)).header.frame_id == ''
    assert image_from_bytes(bytes(sent)).width == 9


def test_a_string_that_is_not_utf8_is_read_as_rclpy_does():
    sent = serialize_message(image(frame_id='abc')).replace(b'abc\0', b'a\xff\0c')
    assert image_from_bytes(sent).header.frame_id == 'a\ufffd'
    assert deserialize_message(sent, Image).header.frame_id == 'a\ufffd'


def test_a_message_cut_anywhere_is_refused():
    sent = serialize_message(image(frame_id='abc', encoding='rgb'))
    whole = len(sent) - len(sent) % 4  # rclpy adds up to three bytes behind the last one
    for length in range(whole - 3):
        with pytest.raises(RuntimeError):
            image_from_bytes(sent[:length])


def test_big_endian_bytes_are_left_to_rclpy():
    numbers = struct.pack('>iII4sIII8sB3xII2s', 5, 6, 4, b'abc', 1, 2, 8, b'8UC1', 0, 2, 2, b'xy')
    seen = image_from_bytes(b'\x00\x00\x00\x00' + numbers)
    assert isinstance(seen, Image)
    assert (seen.header.frame_id, seen.height, seen.width, seen.step) == ('abc', 1, 2, 2)


def test_bytes_are_read_where_the_middleware_writes_them():
    assert image_reader() is image_from_bytes


def test_rclpy_reads_what_another_middleware_writes(monkeypatch):
    monkeypatch.setattr(image_bytes, 'serialize_message',
                        lambda message: b'\x00\x01\x00\x00' + bytes(64))
    assert isinstance(image_reader()(serialize_message(image())), Image)
