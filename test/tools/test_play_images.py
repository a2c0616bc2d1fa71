"""The camera player over real DDS, and its sources without ROS."""

import signal
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from helpers.clock import Clock
from helpers.predict_world import mjpeg, server
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.tools.play_images import main
from mbv2ssd_ros.tools.playing import publishing
from mbv2ssd_ros.tools.playing.image_source import fill_size, open_source, passes
from mbv2ssd_ros.tools.playing.publishing import paced, share_large_images

WIDE_HW = (24, 40)  # not square


def write_image(path, seed=0, size_hw=WIDE_HW):
    """Write a picture of noise; return its pixels."""
    image = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image)
    return image


def write_video(path, count, rate_hz=25.0):
    """Write frames of one grey each: 0, 20, 40 and so on."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'MJPG'), rate_hz, WIDE_HW[::-1])
    for number in range(count):
        writer.write(np.full((*WIDE_HW, 3), 20 * number, dtype=np.uint8))
    writer.release()


def subscribe(graph, kind, topic, reliability='BEST_EFFORT'):
    """Collect the messages of a topic."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    received = []
    graph.node.create_subscription(
        kind, topic, received.append,
        QoSProfile(depth=20, reliability=ReliabilityPolicy[reliability]))
    return received


def test_a_subscriber_gets_the_exact_pixels_of_a_wide_image(graph, tmp_path):
    from sensor_msgs.msg import Image
    image = write_image(tmp_path / 'noise.png')
    received = subscribe(graph, Image, '/cam/image_raw', 'RELIABLE')
    player = graph.start('play_images', tmp_path / 'noise.png', '--topic', '/cam/image_raw',
                         '--frame-id', 'lens', '--reliable')
    message = graph.wait_for(lambda: received, 'image')[0]
    assert (message.height, message.width, message.step) == (24, 40, 120)
    assert (message.encoding, message.header.frame_id) == ('bgr8', 'lens')
    np.testing.assert_array_equal(
        np.frombuffer(message.data, np.uint8).reshape(24, 40, 3), image)
    age_s = time.time() - message.header.stamp.sec - 1e-9 * message.header.stamp.nanosec
    assert 0 <= age_s < 10
    assert graph.run(player).code == 0


def test_count_plays_a_folder_again_in_the_order_of_names_and_ends_with_0(graph, tmp_path):
    from sensor_msgs.msg import Image
    folder = tmp_path / 'images'
    folder.mkdir()
    first, second = (write_image(folder / name, seed) for seed, name in enumerate((
        'a.png', 'b.png')))
    (folder / 'notes.txt').write_text('not an image')
    received = subscribe(graph, Image, '/camera/image_raw', 'RELIABLE')
    player = graph.start('play_images', folder, '--count', '3', '--rate', '50', '--reliable')
    ended = graph.run(player)
    graph.wait_for(lambda: len(received) == 3, '3 images')
    assert [bytes(m.data) for m in received] == [i.tobytes() for i in (first, second, first)]
    assert ended.code == 0 and '3 frames published' in ended.output


def test_compressed_is_a_jpeg_close_to_the_image_on_the_compressed_topic(graph, tmp_path):
    from sensor_msgs.msg import CompressedImage
    smooth = np.dstack([np.tile(np.arange(40, dtype=np.uint8) * 4, (24, 1))] * 3)
    cv2.imwrite(str(tmp_path / 'ramp.png'), smooth)
    received = subscribe(graph, CompressedImage, '/camera/image_raw/compressed')
    graph.start('play_images', tmp_path / 'ramp.png', '--transport', 'compressed', '--loop')
    message = graph.wait_for(lambda: received, 'compressed image')[0]
    assert bytes(message.data[:2]) == b'\xff\xd8'  # a JPEG begins so
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (24, 40, 3)
    assert np.abs(decoded.astype(int) - smooth).max() <= 8  # quality 90 on a ramp
    assert 'jpeg' in message.format


def test_its_topic_is_in_the_namespace_of_the_player(graph, tmp_path):
    from sensor_msgs.msg import Image
    write_image(tmp_path / 'noise.png')
    received = subscribe(graph, Image, '/robot1/camera/image_raw')
    graph.start('play_images', tmp_path / 'noise.png', '--loop', '--ros-args', '-r',
                '__ns:=/robot1')
    graph.wait_for(lambda: received, 'image')


def test_a_stream_is_played_at_its_own_pace(graph):
    from sensor_msgs.msg import Image
    frames = [np.full((*WIDE_HW, 3), 20 * number, np.uint8) for number in range(10)]
    received = subscribe(graph, Image, '/camera/image_raw')
    with server({'/live': mjpeg(frames, lambda _: time.sleep(0.1))}) as at:
        player = graph.start('play_images', f'http://{at}/live', '--count', '3')
        ended = graph.run(player)
    assert ended.code == 0 and '3 frames published' in ended.output
    graph.wait_for(lambda: received, 'image')


def test_a_webcam_that_is_not_there_is_named(capsys):
    assert main(['/dev/video99']) == 1
    assert 'webcam 99: cannot be opened; this machine has' in capsys.readouterr().err


def test_a_stream_has_its_own_rate(monkeypatch, capsys):
    monkeypatch.setattr('mbv2ssd_ros.tools.play_images.open_source', lambda *_: SimpleNamespace(
        is_live=True, shown='webcam 0'))
    assert main(['0', '--rate', '5']) == 1
    assert '--rate 5: webcam 0 comes at its own rate' in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.parametrize(('arguments', 'environment', 'message'), [
    (['--topic', 'a b'], {}, '--topic a b: '),
    (['--ros-args', '-r', 'nonsense'], {}, '--ros-args -r nonsense, ROS_DOMAIN_ID='),
    ([], {'ROS_DOMAIN_ID': 'abc'}, 'without ROS arguments, ROS_DOMAIN_ID=abc: '),
    ([], {'ROS_DOMAIN_ID': '300'}, 'ROS_DOMAIN_ID is 300, expected 0 to 232')])
def test_what_ros_refuses_is_one_line(graph, tmp_path, arguments, environment, message):
    write_image(tmp_path / 'noise.png')
    graph.environment.update(environment)
    ended = graph.run(graph.start('play_images', tmp_path / 'noise.png', *arguments))
    assert ended.code == 1 and 'Traceback' not in ended.output
    assert f'play_images: error: {message}' in ended.output


def test_it_waits_for_a_subscriber_and_sigint_ends_it_with_0(graph, tmp_path):
    from sensor_msgs.msg import Image
    write_image(tmp_path / 'noise.png')
    player = graph.start('play_images', tmp_path / 'noise.png', '--loop', '--rate', '50')
    graph.wait_for(lambda: 'waiting for 1 subscriber' in player.log_file.read_text(), 'waiting')
    received = subscribe(graph, Image, '/camera/image_raw')
    graph.wait_for(lambda: len(received) > 2, 'images')
    player.process.send_signal(signal.SIGINT)
    ended = graph.run(player)
    assert ended.code == 0
    assert 'Traceback' not in ended.output


def test_a_file_that_cannot_be_decoded_is_skipped_by_name(tmp_path, capsys):
    write_image(tmp_path / 'good.png')
    (tmp_path / 'words.png').write_text('not an image')
    write_image(tmp_path / 'whole.jpg')
    half = (tmp_path / 'whole.jpg').read_bytes()[:-200]  # cv2 decodes it, with grey for the rest
    (tmp_path / 'whole.jpg').rename(tmp_path / 'half.jpg').write_bytes(half)
    frames = list(passes(open_source(tmp_path), repeat=False))
    assert [frame.name for frame in frames] == ['good.png']
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition('.')[0].rpartition('/')[2] for line in lines] == ['half', 'words']
    assert 'truncated' in lines[0] and 'not an image' in lines[1]


def test_a_skipped_file_is_named_once_however_often_the_folder_is_played(tmp_path, capsys):
    (tmp_path / 'broken.jpg').write_bytes(b'')
    write_image(tmp_path / 'good.png')
    frames = passes(open_source(tmp_path), repeat=True)
    assert [next(frames).name for _ in range(3)] == ['good.png'] * 3
    assert capsys.readouterr().err.count('broken.jpg') == 1


def test_a_folder_without_a_usable_image_is_an_error(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'')
    with pytest.raises(DataError, match='not one of the files can be decoded'):
        list(passes(open_source(tmp_path), repeat=True))


@pytest.mark.parametrize(('make', 'message'), [
    (lambda path: None, 'no such file or folder'),
    (lambda path: path.mkdir(), 'no images in this folder.*\\.png'),
    (lambda path: path.write_text('words'), 'neither an image nor a video')])
def test_a_path_without_images_is_refused_by_name(tmp_path, make, message):
    make(tmp_path / 'there')
    with pytest.raises(DataError, match=f'there: {message}'):
        open_source(tmp_path / 'there')


def test_an_error_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert main([str(tmp_path / 'missing')]) == 1
    error = capsys.readouterr().err
    assert error.startswith('play_images: error: ') and error.count('\n') == 1


def test_a_video_plays_its_frames_in_order_at_its_own_rate(tmp_path):
    write_video(tmp_path / 'drive.avi', 4, rate_hz=12.5)
    source = open_source(tmp_path / 'drive.avi')
    frames = list(source)
    assert source.rate_hz == 12.5
    assert [frame.name for frame in frames] == [f'drive.avi:{n}' for n in (1, 2, 3, 4)]
    greys = [float(frame.image_bgr.mean()) for frame in frames]
    np.testing.assert_allclose(greys, [0, 20, 40, 60], atol=3)  # JPEG inside
    assert len(list(source)) == 4  # and again from the beginning


@pytest.mark.parametrize(('size_hw', 'wanted_wh'), [
    ((48, 80), (24, 24)), ((80, 48), (24, 24)), ((24, 40), (80, 30)), ((24, 40), (40, 24))])
def test_a_size_is_filled_from_the_middle_in_the_same_proportions(size_hw, wanted_wh):
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    middle_y, middle_x = size_hw[0] // 2, size_hw[1] // 2
    image[middle_y - 4:middle_y + 4, middle_x - 4:middle_x + 4] = 255  # a square
    filled = fill_size(image, wanted_wh)
    assert filled.shape == (wanted_wh[1], wanted_wh[0], 3)
    rows, columns = np.nonzero(filled[..., 0] > 127)
    assert np.ptp(rows) == np.ptp(columns) > 0  # still a square
    assert abs(rows.mean() - (wanted_wh[1] - 1) / 2) <= 0.5
    assert abs(columns.mean() - (wanted_wh[0] - 1) / 2) <= 0.5


def test_frames_are_spaced_by_the_rate(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(publishing, 'time', clock)
    started_s = clock.now_s
    came = [(frame, clock.now_s - started_s) for frame in paced(iter('abc'), rate_hz=50)]
    assert [frame for frame, _ in came] == ['a', 'b', 'c']
    assert [after_s for _, after_s in came] == pytest.approx([0, 0.02, 0.04])


@pytest.mark.parametrize(('argument', 'message'), [
    (['--rate', '0'], "'0' is not a number above 0"),
    (['--count', '-1'], "'-1' is not a whole number above 0"),
    (['--size', '640'], "'640' is not a size; write width x height")])
def test_a_bad_argument_says_what_it_should_be(argument, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['photos', *argument])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_large_images_get_a_transport_that_carries_them():
    environment = {}
    share_large_images(environment)
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        assert environment[name].endswith('config/fastdds_large_images.xml')
