"""The viewer on messages made here: lines, pictures, and what it says when nothing comes."""

import json

import cv2
import numpy as np
import pytest

from helpers.needs import need
from mbv2ssd_ros.core.drawing import class_colour

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
    from sensor_msgs.msg import Image
    vision_msgs = need('vision_msgs.msg')
    images = graph.node.create_publisher(Image, '/camera/image_raw', 10)
    found = graph.node.create_publisher(
        vision_msgs.Detection2DArray, '/camera/detections', 10)

    def publish(*objects, with_image=True):
        stamp_ns = graph.node.get_clock().now().nanoseconds
        if with_image:
            images.publish(image(stamp_ns))
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


def test_frames_without_an_image_are_counted(graph, camera, tmp_path):
    ended = view(graph, camera, tmp_path, with_image=False)
    assert ended.code == 0
    assert '0 annotated images' in ended.output and '5 frames without an image' in ended.output


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
