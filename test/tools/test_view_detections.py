"""The viewer on messages made here: lines, pictures, and what it says when nothing comes."""

import json

import cv2
import numpy as np
import pytest

from helpers.needs import need
from mbv2ssd_ros.core.drawing import class_colour
from mbv2ssd_ros.tools.view_detections import viewed_frame

SIZE_HW = (120, 200)  # not square
GREY = 90


def image(stamp_ns):
    """Make a grey bgr8 image."""
    from sensor_msgs.msg import Image
    height, width = SIZE_HW
    message = Image(height=height, width=width, encoding='bgr8', step=3 * width)
    message.data.frombytes(bytes([GREY]) * (3 * width * height))
    return stamped(message, stamp_ns)


def detections(stamp_ns, *found):
    """Make a Detection2DArray of (name, score, (left, top, right, bottom))."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
    message = Detection2DArray()
    for name, score, (left, top, right, bottom) in found:
        detection = Detection2D()
        detection.bbox.center.position.x = (left + right) / 2
        detection.bbox.center.position.y = (top + bottom) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(right - left), float(bottom - top)
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = name, score
        detection.results.append(hypothesis)
        message.detections.append(detection)
    return stamped(message, stamp_ns)


def stamped(message, stamp_ns):
    """Set the stamp of a header."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


@pytest.fixture
def camera(graph):
    """Return what publishes an image with its detections, each under a new stamp."""
    from sensor_msgs.msg import CompressedImage, Image
    vision_msgs = need('vision_msgs.msg')
    images = {}
    found = graph.node.create_publisher(
        vision_msgs.Detection2DArray, '/camera/detections', 10)
    _, jpeg = cv2.imencode('.jpg', np.full((*SIZE_HW, 3), GREY, np.uint8))

    def publish(*objects, with_image=True, compressed=False):
        stamp_ns = graph.node.get_clock().now().nanoseconds
        if with_image and compressed not in images:
            images[compressed] = (
                graph.node.create_publisher(CompressedImage, '/camera/image_raw/compressed', 10)
                if compressed else graph.node.create_publisher(Image, '/camera/image_raw', 10))
        if with_image:
            message = CompressedImage(format='jpeg') if compressed else image(stamp_ns)
            if compressed:
                message.data.frombytes(jpeg.tobytes())
            images[compressed].publish(stamped(message, stamp_ns))
        found.publish(detections(stamp_ns, *objects))
        graph.spin(0.03)
    return publish


def view(graph, camera, folder, *objects, arguments=('--frames', '5'), **kwargs):
    """Run the viewer while frames keep coming; return how it ended."""
    viewer = graph.start('view_detections', '--output', folder, *arguments)

    def ended():
        camera(*objects, **kwargs)
        return viewer.process.poll() is not None
    graph.wait_for(ended, 'end of the viewer')
    return graph.run(viewer)


def last_picture(folder):
    """Read the newest picture; the images of the first frames may have come too early."""
    return cv2.imread(str(max(folder.glob('frame_*.png'))))


def test_a_frame_is_a_line_with_labels_scores_and_latency(graph, camera, tmp_path):
    ended = view(graph, camera, tmp_path, ('cat', 0.914, (100, 40, 180, 100)),
                 ('dog', 0.5, (10, 50, 60, 110)))
    assert ended.code == 0
    line = ended.output.splitlines()[0]
    assert line.startswith('frame 1: cat 0.91, dog 0.50 (') and line.endswith(' ms)')
    assert 0 < float(line.partition('(')[2].split()[0]) < 5000
    assert '5 frames, 10 detections, latency median' in ended.output


def test_the_annotated_picture_has_the_box_in_the_colour_of_its_class(graph, camera, tmp_path):
    view(graph, camera, tmp_path, ('cat', 0.9, (100, 40, 180, 100)))
    drawn = last_picture(tmp_path)
    assert drawn.shape == (*SIZE_HW, 3)
    assert tuple(drawn[70, 100]) == class_colour('cat')
    assert tuple(drawn[70, 140]) == (GREY,) * 3
    assert tuple(drawn[100, 40]) == (GREY,) * 3  # where a swap of x and y would draw


def test_an_empty_frame_is_a_line_and_the_picture_as_it_came(graph, camera, tmp_path):
    ended = view(graph, camera, tmp_path)
    assert 'frame 1: nothing (' in ended.output
    assert (last_picture(tmp_path) == GREY).all()


def test_the_record_has_boxes_and_scores_as_they_were_received(graph, camera, tmp_path):
    view(graph, camera, tmp_path, ('cat', 0.75, (100, 40, 180, 100)),
         arguments=('--frames', '1', '--record', tmp_path / 'record'))
    frame = json.loads((tmp_path / 'record').read_text().splitlines()[0])
    assert frame['names'] == ['cat'] and frame['scores'] == [0.75]
    np.testing.assert_allclose(frame['boxes_xyxy_px'], [[100, 40, 180, 100]])


def test_frames_without_any_image_end_with_1_and_the_reason(graph, camera, tmp_path):
    ended = view(graph, camera, tmp_path, with_image=False)
    assert ended.code == 1
    assert '0 annotated images' in ended.output and '5 frames without an image' in ended.output
    assert 'no image to draw into: no publisher on /camera/image_raw, nor' in ended.output


def test_a_compressed_camera_is_named_where_a_raw_one_was_asked_for(graph, camera, tmp_path):
    ended = view(graph, camera, tmp_path, compressed=True)
    assert ended.code == 1
    assert 'the same camera publishes sensor_msgs/msg/CompressedImage' in ended.output
    assert '; set --transport compressed' in ended.output


@pytest.mark.parametrize('topic', ['camera/image_raw', 'camera/image_raw/compressed'])
def test_a_compressed_camera_has_the_topic_that_image_transport_gives_it(
        graph, camera, tmp_path, topic):
    ended = view(graph, camera, tmp_path, compressed=True, arguments=(
        '--frames', '5', '--transport', 'compressed', '--image-topic', topic))
    assert ended.code == 0
    assert abs(int(last_picture(tmp_path)[0, 0, 0]) - GREY) < 4


def test_topics_are_in_the_namespace_of_the_viewer(graph, tmp_path):
    ended = graph.run(graph.start(
        'view_detections', '--output', tmp_path, '--timeout', '0.3',
        '--ros-args', '-r', '__ns:=/robot1'))
    assert 'no detections on /robot1/camera/detections for 0.3 s' in ended.output


def test_without_a_display_the_pictures_are_written(graph, camera, tmp_path):
    graph.environment.pop('DISPLAY', None)
    graph.environment.pop('WAYLAND_DISPLAY', None)
    ended = view(graph, camera, tmp_path, arguments=('--show', '--frames', '3'))
    assert ended.code == 0 and last_picture(tmp_path) is not None
    assert f'--show: no display here (DISPLAY is not set); pictures are written to {tmp_path}' in (
        ended.output)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--image-topic', 'a b'], '--image-topic a b: '),
    (['--detections-topic', '/x//y'], '--detections-topic /x//y: '),
    (['--record', '/no/such/folder/x'], '--record /no/such/folder/x: cannot be written'),
    (['--record', '/dev/full'], '--record /dev/full: cannot be written: No space left'),
    (['--ros-args', '-r', 'nonsense'], '--ros-args -r nonsense, ROS_DOMAIN_ID='),
    (['--output', '/dev/null/x'], '--output /dev/null/x: Not a directory')])
def test_what_is_wrong_is_named_in_one_line(graph, camera, tmp_path, arguments, message):
    output = [] if '--output' in arguments else ['--output', tmp_path]
    viewer = graph.start('view_detections', *output, *arguments)

    def ended():
        camera()
        return viewer.process.poll() is not None
    graph.wait_for(ended, 'end of the viewer')
    found = graph.run(viewer)
    assert found.code == 1 and 'Traceback' not in found.output
    assert f'view_detections: error: {message}' in found.output


def test_without_a_detector_it_says_what_to_check_and_ends_with_1(graph, tmp_path):
    ended = graph.run(graph.start(
        'view_detections', '--output', tmp_path, '--timeout', '0.3'))
    assert ended.code == 1
    assert 'no detections on /camera/detections for 0.3 s; it has no publisher' in ended.output


def test_fewer_frames_than_asked_for_end_with_1(graph, camera, tmp_path):
    viewer = graph.start(
        'view_detections', '--output', tmp_path, '--frames', '1000', '--timeout', '4')

    def first_frame():
        camera()
        return 'frame 1' in viewer.log_file.read_text()
    graph.wait_for(first_frame, 'first frame')
    ended = graph.run(viewer)
    assert ended.code == 1
    assert 'of 1000 frames came, then none' in ended.output


def test_the_line_has_the_ids_of_tracks():
    message = detections(1_000, ('cat', 0.91, (0, 0, 4, 4)), ('dog', 0.5, (4, 4, 8, 8)))
    message.detections[0].id = '12'
    frame = viewed_frame(message, 3, 2_000_000)
    assert frame.line() == 'frame 3: cat #12 0.91, dog 0.50 (2.0 ms)'
    assert frame.to_dict()['ids'] == ['12', '']
