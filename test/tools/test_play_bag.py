"""A recording becomes camera topics again; the live node accounts for all its images."""

import json
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.bag_world import (
    CAMERA,
    compressed,
    detections,
    FRONT,
    images,
    picture,
    raw,
    REAR,
    SECOND,
    six_pictures,
    stamp,
    write_bag,
    write_ros1_bag,
)
from helpers.clock import Clock
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.tools import evaluate_live, play_bag
from mbv2ssd_ros.tools.live.cameras import cameras_of
from mbv2ssd_ros.tools.play_bag import paced_as_recorded


def message_at(milliseconds):
    return SimpleNamespace(log_ns=5 * SECOND + milliseconds * 1_000_000)


def stamp_of(message):
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


@pytest.fixture
def clock(monkeypatch):
    """Give the player a clock that only sleeping moves on."""
    clock = Clock()
    monkeypatch.setattr(play_bag, 'time', clock)
    return clock


@pytest.mark.parametrize(('factor', 'expected_s'), [(1.0, 0.3), (3.0, 0.1)])
def test_messages_come_when_they_were_recorded_divided_by_the_rate(clock, factor, expected_s):
    started_s = clock.now_s
    assert len(list(paced_as_recorded(map(message_at, (0, 100, 300)), factor, 10.0))) == 3
    assert clock.now_s - started_s == pytest.approx(expected_s)


def test_what_is_late_comes_at_once_and_the_rest_in_time(clock):
    played = paced_as_recorded(map(message_at, (0, 10, 20, 400)), 1.0, 10.0)
    started_s = clock.now_s
    next(played)
    clock.sleep(0.2)
    next(played)
    next(played)
    assert clock.now_s - started_s == pytest.approx(0.2)
    next(played)
    assert clock.now_s - started_s == pytest.approx(0.4)


def test_a_gap_of_the_recording_is_cut_and_said(clock, capsys):
    started_s = clock.now_s
    list(paced_as_recorded(map(message_at, (0, 100, 241_920_100, 241_920_200)), 1.0, 2.0))
    assert clock.now_s - started_s == pytest.approx(2.2)
    assert ('nothing was recorded for 241920.0 s, or a clock was set: cut to 2 s (--max-gap)'
            in capsys.readouterr().out)


@pytest.mark.parametrize('topic', ['/cam-1/image', '/1/image'])
def test_names_of_ros1_that_ros2_does_not_allow_are_refused(tmp_path, topic):
    path = write_ros1_bag(tmp_path / 'old.bag', six_pictures(), topic)
    with pytest.raises(DataError, match=f'{topic}: ROS 2 has no such topic names'):
        cameras_of(path)


def test_a_topic_without_a_slash_gets_it(tmp_path):
    path = write_ros1_bag(tmp_path / 'old.bag', six_pictures(), 'camera/image')
    for asked in ((), ('camera/image',), ('/camera/image',)):
        [camera] = cameras_of(path, asked)
        assert (camera.image_topic, camera.frames) == ('/camera/image', 6)


def test_cameras_of_a_bag_are_its_image_topics(tmp_path):
    messages = sorted([
        *images(six_pictures(), FRONT), *images(six_pictures()[:2], REAR, compressed),
        ('/front/detections', stamp(0), detections([], stamp(0)))], key=lambda item: item[1])
    found = cameras_of(write_bag(tmp_path / 'bag', messages))
    assert [(c.name, c.image_topic, c.transport, c.frames) for c in found] == [
        ('front', FRONT, 'raw', 6), ('rear', REAR, 'compressed', 2)]


def test_two_topics_of_one_camera_get_two_names(tmp_path):
    topics = (FRONT, f'{FRONT}/compressed')
    messages = sorted([*images(six_pictures(), topics[0]),
                       *images(six_pictures(), topics[1], compressed)], key=lambda item: item[1])
    bag = write_bag(tmp_path / 'bag', messages)
    assert [camera.name for camera in cameras_of(bag)] == ['front', 'front_2']
    assert [camera.image_topic for camera in cameras_of(bag, topics[1:])] == [topics[1]]


@pytest.mark.parametrize(('arguments', 'message'), [
    ([], 'no such bag'), (['--answered-by', '/a'], '--answered-by is needed once for each')])
def test_a_bad_argument_is_one_line_and_exit_code_1(tmp_path, capsys, arguments, message):
    assert play_bag.main([str(tmp_path / 'none'), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith('play_bag: error: ') and message in error and error.count('\n') == 1


def test_a_bag_without_images_is_refused_with_what_it_has(tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', [('/found', stamp(0), detections([], stamp(0)))])
    for program in (play_bag, evaluate_live):
        assert program.main([str(bag)]) == 1
        assert 'no topic with images; it has /found' in capsys.readouterr().err


def received(graph, kind, topic, count=6):
    """Subscribe reliably; return the list."""
    from rclpy.qos import QoSProfile
    messages = []
    graph.node.create_subscription(kind, topic, messages.append, QoSProfile(depth=count))
    return messages


@pytest.mark.ros
def test_images_are_played_as_they_were_recorded(graph, tmp_path):
    from sensor_msgs.msg import Image
    bag = write_bag(tmp_path / 'bag', images(six_pictures()))
    messages = received(graph, Image, CAMERA)
    ended = graph.run(graph.start('play_bag', bag, '--rate', '5', '--reliable'))
    assert ended.code == 0 and f'6 frames published on {CAMERA}' in ended.output
    graph.wait_for(lambda: len(messages) == 6, 'six images')
    assert [stamp_of(message) for message in messages] == [stamp(k) for k in range(6)]
    for message, expected in zip(messages, six_pictures(), strict=True):
        assert (message.header.frame_id, message.encoding) == ('cam', 'bgr8')
        assert (message.height, message.width, message.step) == (64, 96, 288)
        np.testing.assert_array_equal(
            np.frombuffer(message.data, np.uint8).reshape(64, 96, 3), expected)


@pytest.mark.ros
def test_a_ros1_bag_and_the_time_of_publishing(graph, tmp_path):
    from sensor_msgs.msg import Image
    bag = write_ros1_bag(tmp_path / 'old.bag', six_pictures())
    messages = received(graph, Image, CAMERA)
    record = tmp_path / 'played.jsonl'
    started = time.time_ns()
    ended = graph.run(graph.start(
        'play_bag', bag, '--rate', '5', '--reliable', '--stamps', 'now', '--record', record))
    assert ended.code == 0, ended.output
    graph.wait_for(lambda: len(messages) == 6, 'six images')
    stamps = [stamp_of(message) for message in messages]
    assert started < stamps[0] < stamps[-1] < time.time_ns()
    assert [json.loads(line) for line in record.read_text().splitlines()] == [
        {'topic': CAMERA, 'stamp_ns': stamp_ns} for stamp_ns in stamps]


@pytest.mark.ros
def test_a_message_that_cannot_be_read_is_left_out_and_counted(graph, tmp_path):
    from sensor_msgs.msg import CompressedImage
    good = images(six_pictures()[:2], CAMERA, compressed)
    broken = (CAMERA, stamp(2), ('sensor_msgs/msg/CompressedImage', b'\0\1\0\0'))
    messages = received(graph, CompressedImage, CAMERA)
    bag = write_bag(tmp_path / 'bag', [*good, broken])
    ended = graph.run(graph.start('play_bag', bag, '--reliable'))
    assert ended.code == 0
    assert f'2 frames published on {CAMERA}, 1 unreadable' in ended.output
    graph.wait_for(lambda: len(messages) == 2, 'two images')
    assert messages[0].format == 'png' and bytes(messages[0].data[1:4]) == b'PNG'


@pytest.mark.ros
def test_an_image_is_played_when_the_one_before_it_was_answered(graph, tmp_path):
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray
    bag = write_bag(tmp_path / 'bag', images(six_pictures()))
    messages = received(graph, Image, CAMERA)
    publisher = graph.node.create_publisher(Detection2DArray, '/found', 10)
    player = graph.start('play_bag', bag, '--reliable', '--topic', CAMERA, '--answered-by',
                         '/found', '--patience', '60')
    for number in range(1, 7):
        graph.wait_for(lambda n=number: len(messages) == n, f'image {number}')
        graph.spin(0.15)  # longer than between two recorded images
        assert len(messages) == number
        answer = Detection2DArray(header=messages[-1].header)
        publisher.publish(answer)
    ended = graph.run(player)
    assert ended.code == 0 and 'unanswered' not in ended.output


@pytest.mark.ros
def test_patience_ends_and_what_was_not_answered_is_counted(graph, tmp_path):
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray
    bag = write_bag(tmp_path / 'bag', images(six_pictures()[:2]))
    graph.node.create_publisher(Detection2DArray, '/found', 10)
    received(graph, Image, CAMERA)
    ended = graph.run(graph.start(
        'play_bag', bag, '--reliable', '--topic', CAMERA, '--answered-by', '/found',
        '--patience', '0.1'))
    assert ended.code == 0 and '2 frames published' in ended.output
    assert '2 unanswered' in ended.output


@pytest.mark.ros
def test_sigint_while_it_waits_for_a_subscriber_ends_it_with_0(graph, tmp_path):
    bag = write_bag(tmp_path / 'bag', images(six_pictures()))
    player = graph.start('play_bag', bag)
    graph.wait_for(lambda: 'waiting for a subscriber' in player.log_file.read_text(), 'waiting')
    player.process.send_signal(signal.SIGINT)
    ended = graph.run(player)
    assert ended.code == 0 and 'Traceback' not in ended.output


# With the live node ------------------------------------------------------------------------------

@pytest.fixture
def two_cameras(tmp_path):
    """Write a bag of two cameras of six images, the third of the first one damaged."""
    front, rear = images(six_pictures(), FRONT), images(six_pictures(), REAR, compressed)
    damaged = raw(picture(), stamp(2))
    damaged.encoding = 'martian'
    front[2] = (FRONT, front[2][1], damaged)
    return write_bag(tmp_path / 'bag', sorted(front + rear, key=lambda item: item[1]))


@pytest.mark.ros
@pytest.mark.parametrize('pace', [['--as-answered'], ['--rate', '0.5']])
def test_every_image_of_two_cameras_is_accounted_for(graph, tmp_path, two_cameras, pace):
    model, out = write_tiny_model(tmp_path / 'tiny.onnx'), tmp_path / 'live.json'
    ended = graph.run(graph.start('evaluate_live', two_cameras, '--model', model, '--json', out,
                                  '--min-answered', '0.9', *pace))
    found = json.loads(out.read_text())['cameras']
    front, rear = found['front'], found['rear']
    assert front['sent'] == rear['sent'] == 6
    assert front['dropped'].pop('undecodable') == 1
    for camera in (front, rear):  # best effort: a busy machine may lose one, but never unseen
        assert camera['sent'] == camera['lost_before_node'] + camera['received']
        assert camera['published'] == camera['arrived'] + camera['lost_after_node']
        assert camera['in_flight'] == 0 and camera['latency_ms']['p50'] > 0
    if pace == ['--as-answered']:
        assert (front['arrived'], rear['arrived']) == (5, 6)
    assert ended.code == 1 and 'less than 90 % answered: front' in ended.output
    assert 'front: dropped ' in ended.output


@pytest.mark.ros
def test_a_node_that_cannot_start_is_told_with_the_reason(graph, tmp_path, two_cameras):
    model = tmp_path / 'mine.onnx'
    model.write_bytes(b'words')
    ended = graph.run(graph.start('evaluate_live', two_cameras, '--model', model, '--timeout',
                                  '4'))
    assert ended.code == 1 and 'evaluate_live: error: the node detector is ' in ended.output
    assert 'cannot be read as ONNX' in ended.output


def test_a_model_that_is_not_there_is_refused_before_anything_starts(
        tmp_path, two_cameras, capsys):
    assert evaluate_live.main([str(two_cameras), '--model', str(tmp_path / 'no.onnx')]) == 1
    assert f'--model {tmp_path}/no.onnx: no such file' in capsys.readouterr().err
