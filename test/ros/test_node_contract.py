"""What a subscriber may rely on: one message for each processed frame, in the image's pixels."""

import pytest

from helpers.detector_rig import CameraPeer, compressed_msg, image_msg, picture
from mbv2ssd_ros.frames import UNDECODABLE

pytestmark = pytest.mark.ros


@pytest.fixture(scope='module')
def detector(start_detector):
    """Start an active node with a raw and a compressed camera."""
    detector = start_detector(
        cameras='[front, rear]', rear__transport='compressed', front__qos_reliability='reliable',
        rear__qos_reliability='reliable', camera__qos_reliability=None, score_threshold=0.5)
    detector.activate()
    return detector


@pytest.fixture(scope='module')
def front(detector):
    """Play the raw camera."""
    return CameraPeer(detector, 'front')


@pytest.fixture(scope='module')
def rear(detector):
    """Play the compressed camera."""
    from sensor_msgs.msg import CompressedImage
    return CameraPeer(detector, 'rear', CompressedImage)


def facts(message):
    """Return (class, score, x1, y1, x2, y2) of each detection."""
    found = []
    for detection in message.detections:
        hypothesis, box = detection.results[0].hypothesis, detection.bbox
        x, y = box.center.position.x, box.center.position.y
        found.append((
            hypothesis.class_id, pytest.approx(hypothesis.score, abs=1e-5),
            x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2, y + box.size_y / 2))
    return found


def test_a_red_cell_is_reported_in_pixels_of_the_image(front):
    # 96 x 64 pixels, twice the network input: a cell is 16 x 16
    answer = front.ask(image_msg(picture(red=[(1, 4, 255)], scale=2)))
    assert facts(answer) == [('red', 1.0, 64, 16, 80, 32)]


def test_detections_are_sorted_by_score(front):
    answer = front.ask(image_msg(picture(red=[(0, 0, 153)], green=[(2, 3, 204), (3, 5, 255)])))
    assert [fact[:2] for fact in facts(answer)] == [('green', 1.0), ('green', 0.8), ('red', 0.6)]


def test_an_empty_scene_is_an_empty_message(front):
    answer = front.ask(image_msg(picture()))
    assert answer.detections == []


def test_the_header_of_the_image_goes_everywhere_untouched(front):
    image = image_msg(picture(red=[(0, 0, 255), (2, 2, 255)]), frame_id='front_optical/ä')
    answer = front.ask(image)
    assert answer.header == image.header
    assert [d.header for d in answer.detections] == [image.header] * 2


def test_an_image_without_a_stamp_is_answered(front):
    front.received.clear()
    front.send(image_msg(picture(), stamp_ns=0, frame_id='unstamped'))
    front.peer.wait_for(lambda: any(m.header.frame_id == 'unstamped' and m.header.stamp.sec == 0
                                    for m in front.received), 'answer')


def test_nothing_is_tracked_and_no_depth_is_invented(front):
    found = front.ask(image_msg(picture(red=[(0, 0, 255)]))).detections[0]
    assert (found.id, len(found.results), found.bbox.center.theta) == ('', 1, 0.0)


def test_parts_of_an_earlier_message_do_not_come_back(front):
    front.ask(image_msg(picture(red=[(0, 0, 255), (1, 1, 255), (2, 2, 255)]), frame_id='before'))
    answer = front.ask(image_msg(picture(green=[(3, 0, 255)]), frame_id='after'))
    assert facts(answer) == [('green', 1.0, 0, 24, 8, 32)]
    assert answer.detections[0].header.frame_id == 'after'


@pytest.mark.parametrize('extension', ['.png', '.webp'])
def test_compressed_images(rear, extension):
    answer = rear.ask(compressed_msg(picture(red=[(1, 4, 255)], scale=2), extension))
    assert [(f[0], *f[2:]) for f in facts(answer)] == [('red', 64, 16, 80, 32)]


def test_a_compressed_image_whose_format_says_rgb_has_its_channels_swapped(rear):
    image = compressed_msg(picture(red=[(1, 4, 255)]))
    image.format = 'rgb8; png compressed rgb8'  # and blue where bgr is stored
    assert facts(rear.ask(image)) == []
    image = compressed_msg(picture(red=[(1, 4, 255)])[..., ::-1])
    image.format = 'rgb8; png compressed rgb8'
    assert [fact[0] for fact in facts(rear.ask(image))] == ['red']


def test_a_depth_image_is_refused_with_the_reason(front):
    image = image_msg(picture())
    image.encoding, image.width = '16UC1', image.width * 3 // 2
    with front.streaming(image):
        status, _ = front.detector.diagnosis(
            'camera front', lambda s, v: 'depth' in s.message, 'reason')
    assert "encoding '16UC1' is a depth image" in status.message


def test_ten_bits_in_sixteen_are_reported_once_and_scaled_by_a_parameter(start_detector):
    detector = start_detector(camera__significant_bits=10, cameras='[camera, plain]',
                              plain__qos_reliability='reliable', score_threshold=0.5)
    detector.activate()
    red = picture(red=[(1, 4, 255)]).astype('<u2') * 4  # 1020 of 1023
    image = image_msg(red.view('u1').reshape(*red.shape[:2], -1))
    image.encoding, image.width, image.step = 'rgb16', red.shape[1], 6 * red.shape[1]
    assert [fact[0] for fact in facts(CameraPeer(detector).ask(image))] == ['red']
    plain = CameraPeer(detector, 'plain')
    assert [facts(plain.ask(image)) for _ in range(3)] == [[]] * 3
    lines = [line for line in detector.log().splitlines() if 'significant_bits' in line]
    assert len(lines) == 1
    assert 'plain: rgb16 image without a pixel above 1/16 of white' in lines[0]


def test_each_camera_answers_on_its_own_topic_with_its_own_header(front, rear):
    front.received.clear()
    rear.received.clear()
    front.ask(image_msg(picture(red=[(0, 0, 255)]), frame_id='front'))
    rear.ask(compressed_msg(picture(green=[(0, 0, 255)]), frame_id='rear'))
    assert [(m.header.frame_id, facts(m)[0][0]) for m in front.received] == [('front', 'red')]
    assert [(m.header.frame_id, facts(m)[0][0]) for m in rear.received] == [('rear', 'green')]


def test_a_frame_that_cannot_be_processed_gives_no_message_and_is_counted(front):
    def dropped(values):
        return int(values[f'dropped.{UNDECODABLE}'])
    _, before = front.detector.diagnosis('camera front', lambda s, v: True, 'counters')
    front.received.clear()
    broken = image_msg(picture(), frame_id='broken')
    broken.encoding = 'bgr9'
    front.send(broken)
    _, after = front.detector.diagnosis(
        'camera front', lambda s, v: dropped(v) > dropped(before), 'dropped frame')
    assert dropped(after) == dropped(before) + 1
    front.ask(image_msg(picture(), frame_id='whole'))
    assert [m.header.frame_id for m in front.received] == ['whole']


def test_the_class_can_be_a_number_that_label_info_explains(start_detector):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import LabelInfo
    detector = start_detector(class_id='index', score_threshold=0.5)
    detector.activate()
    answer = CameraPeer(detector).ask(image_msg(picture(red=[(0, 0, 255)], green=[(2, 2, 204)])))
    labels = detector.peer.collect(
        LabelInfo, f'{detector.name}/label_info',
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    detector.peer.wait_for(lambda: labels, 'label info')
    names = {str(known.class_id): known.class_name for known in labels[0].class_map}
    assert [fact[0] for fact in facts(answer)] == ['1', '2']
    assert [names[fact[0]] for fact in facts(answer)] == ['red', 'green']
    assert 'class_id is read when the node is configured' in detector.set(class_id='name')


def test_labels_are_latched_with_the_columns_of_the_model(detector):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import LabelInfo
    late = detector.peer.collect(
        LabelInfo, f'{detector.name}/label_info',
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    detector.peer.wait_for(lambda: late, 'label info')
    assert [(c.class_id, c.class_name) for c in late[0].class_map] == [(1, 'red'), (2, 'green')]
    assert late[0].threshold == 0.5
