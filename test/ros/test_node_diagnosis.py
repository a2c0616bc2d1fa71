"""The node says why nothing comes, and shows what it sees."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture
from helpers.needs import need

pytestmark = pytest.mark.ros

CAMERA = '''
import sys
import rclpy
from sensor_msgs import msg
rclpy.init()
node = rclpy.create_node(sys.argv[1])
kind = getattr(msg, sys.argv[2])
publisher = node.create_publisher(kind, sys.argv[3], 1)
image = kind(format='jpeg') if sys.argv[2] == 'CompressedImage' else kind(
    height=2, width=2, step=6, encoding='rgb8', data=bytes(12))
node.create_timer(0.05, lambda: publisher.publish(image))
rclpy.spin(node)
'''
OK, WARN, ERROR = b'\0', b'\1', b'\2'


@pytest.fixture(scope='module')
def detector(start_detector):
    """Start a node with one good camera and three that bring nothing."""
    detector = start_detector(
        cameras='[camera, deaf, mistyped, absent]', deaf__qos_reliability='reliable',
        silence_timeout_s=0.5, score_threshold=0.5)
    detector.activate()
    return detector


@pytest.fixture(scope='module')
def camera(detector):
    """Play the good camera."""
    return CameraPeer(detector)


def silent(detector, name, *words):
    """Wait until a camera is reported silent for a reason with these words."""
    status, _ = detector.diagnosis(
        f'camera {name}',
        lambda s, v: s.level == ERROR and all(word in s.message for word in words),
        f'{name}: {words}')
    return status


def test_incompatible_quality_of_service_is_named_with_both_sides(detector):
    CameraPeer(detector, 'deaf', reliable=False, wait_for_subscriber=False)
    silent(detector, 'deaf', '/peer offers BEST_EFFORT images on', 'deaf.qos_reliability asks '
           'for RELIABLE', 'set deaf.qos_reliability to best_effort')
    assert 'offers BEST_EFFORT' in detector.log()


def test_an_absent_camera_is_named_with_the_topics_there_are(detector, camera):
    silent(detector, 'absent', f'no publisher on {detector.topic("absent/image_raw")}',
           'sensor_msgs/msg/Image is published on', detector.topic('camera/image_raw'))


def test_the_wrong_type_of_image_is_named_with_the_remedy(detector):
    from sensor_msgs.msg import CompressedImage
    detector.peer.node.create_publisher(
        CompressedImage, detector.topic('mistyped/image_raw'), 10)
    silent(detector, 'mistyped', '/peer publishes sensor_msgs/msg/CompressedImage',
           "mistyped.transport is 'raw' and expects sensor_msgs/msg/Image")


def test_a_killed_camera_that_comes_back_with_another_type_is_named(start_detector):
    detector = start_detector(autostart=True, silence_timeout_s=0.5, camera__qos_reliability=None)

    def play(*arguments):
        return subprocess.Popen(
            [sys.executable, '-c', CAMERA, *arguments, detector.topic('camera/image_raw')])
    old = play('old_driver', 'Image')
    detector.diagnosis('camera camera', lambda s, v: s.level == OK, 'images')
    new = play('new_driver', 'CompressedImage')
    try:
        detector.peer.wait_for(
            lambda: (detector.topic('camera/image_raw'), [
                'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image'])
            in detector.peer.node.get_topic_names_and_types(), 'second driver')
        old.kill()  # and listed until its lease ends, after 20 s
        old.wait()
        silent(detector, 'camera', '/new_driver publishes sensor_msgs/msg/CompressedImage')
    finally:
        new.send_signal(signal.SIGINT)
        new.wait(10)


def test_the_twin_of_image_transport_is_named_with_both_parameters(detector):
    from sensor_msgs.msg import CompressedImage
    twin = detector.topic('absent/image_raw/compressed')
    publisher = detector.peer.node.create_publisher(CompressedImage, twin, 10)
    silent(detector, 'absent',
           f'the same camera publishes sensor_msgs/msg/CompressedImage on {twin}',
           f'set absent.transport to compressed and absent.image_topic to {twin}')
    detector.peer.node.destroy_publisher(publisher)


def test_a_latched_image_is_not_awaited_forever(detector):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import Image
    publisher = detector.peer.node.create_publisher(
        Image, detector.topic('absent/image_raw'),
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    silent(detector, 'absent', 'a latched image, perhaps sent before this subscription')
    detector.peer.node.destroy_publisher(publisher)


def test_two_nodes_on_one_topic_are_a_warning(detector, camera):
    import rclpy
    from sensor_msgs.msg import Image
    other = rclpy.create_node('other', context=detector.peer.node.context)
    other.create_publisher(Image, detector.topic('camera/image_raw'), 5)
    with camera.streaming(image_msg(picture())):
        status, _ = detector.diagnosis(
            'camera camera', lambda s, v: s.level == WARN and 'nodes publish on' in s.message,
            'warning')
        other.destroy_node()
        detector.diagnosis('camera camera', lambda s, v: s.level == OK, 'recovery')
    assert '/other' in status.message and '/peer' in status.message


def test_a_slow_camera_is_a_warning_that_names_its_interval(detector, camera):
    with camera.streaming(image_msg(picture()), 2.5):
        detector.diagnosis(
            'camera camera', lambda s, v: s.level == WARN and s.message.startswith(
                'a slow camera: an image every'), 'warning')


def test_a_camera_that_falls_silent_is_an_error_until_it_is_back(detector, camera):
    camera.ask(image_msg(picture()))
    silent(detector, 'camera', 'no image for', '/peer is there on')
    with camera.streaming(image_msg(picture())):
        detector.diagnosis('camera camera', lambda s, v: s.level == OK, 'recovery')
    detector.peer.wait_for(
        lambda: 'camera: images arrive again' in detector.log(), 'message about the recovery')


def test_undecodable_images_are_an_error_with_the_last_reason(detector, camera):
    broken = image_msg(picture())
    broken.encoding = 'bgr9'
    with camera.streaming(broken):
        status, _ = detector.diagnosis(
            'camera camera', lambda s, v: s.level == ERROR and 'undecodable' in s.message, 'error')
    assert 'every image was dropped' in status.message
    assert "encoding 'bgr9' is not one of rgb8" in status.message


def test_some_undecodable_images_are_a_warning(detector, camera):
    broken = image_msg(picture())
    broken.encoding = 'bgr9'
    with camera.streaming(image_msg(picture())), camera.streaming(broken, 0.2):
        detector.diagnosis(
            'camera camera', lambda s, v: s.level == WARN and 'undecodable' in s.message,
            'warning')


def test_the_node_reports_model_and_backend(detector):
    _, values = detector.diagnosis('detector', lambda s, v: s.level == OK, 'status')
    assert values['state'] == 'active'
    assert values['model'].endswith('tiny.onnx')
    assert (values['model_fingerprint'], values['precision']) == ('tiny', 'fp32')
    assert (values['backend'], values['backend_detail'][:12]) == ('onnxruntime', 'ONNX Runtime')


def test_latencies_are_reported_by_stage(detector, camera):
    with camera.streaming(image_msg(picture())):
        _, values = detector.diagnosis(
            'camera camera', lambda s, v: 'total_ms.p99' in v, 'latencies')
    stages = ('wait', 'convert', 'preprocess', 'infer', 'postprocess', 'publish')
    assert 0 < float(values['infer_ms.p50']) <= float(values['total_ms.p99'])
    assert all(float(values[f'{stage}_ms.p50']) >= 0 for stage in stages)
    assert float(values['age_at_publish_ms.p50']) > 0


def test_the_typed_status_has_the_same_books(detector, camera):
    messages = need('mbv2ssd_msgs.msg')
    found = detector.peer.collect(messages.DetectorStatus, f'{detector.name}/status')
    with camera.streaming(image_msg(picture())):
        status = detector.peer.wait_for(
            lambda: next((m for m in found if m.cameras and m.cameras[0].level == 0), None),
            'status of a camera that works')
    assert (status.model, status.backend) == ('tiny.onnx', 'onnxruntime')
    assert [camera.name for camera in status.cameras] == [
        'camera', 'deaf', 'mistyped', 'absent']
    good, deaf = status.cameras[:2]
    assert good.last_image_stamp.sec > 0
    assert good.output_rate_hz > 1
    assert 'infer' in good.stages
    assert good.received == good.published + good.in_flight + sum(good.drop_counts)
    assert (good.level, good.state) == (good.OK, 'OK')
    assert (deaf.level, deaf.state, deaf.received) == (deaf.ERROR, 'ERROR', 0)


def test_a_debug_image_shows_the_boxes(detector, camera):
    from sensor_msgs.msg import Image
    scene = image_msg(picture(red=[(1, 1, 255)], scale=4))
    shown = detector.peer.collect(Image, detector.topic('camera/detections/debug_image'))
    with camera.streaming(scene):
        detector.peer.wait_for(lambda: shown, 'debug image')
    debug = shown[-1]
    assert (debug.encoding, debug.width, debug.height) == ('bgr8', 192, 128)
    assert debug.header in [answer.header for answer in camera.received]
    drawn = np.asarray(debug.data, np.uint8).reshape(128, 192, 3)
    original = picture(red=[(1, 1, 255)], scale=4)[..., ::-1]
    assert (drawn != original).any()
    np.testing.assert_array_equal(drawn[100:], original[100:])  # far from the box


def test_a_debug_image_can_be_had_compressed(detector, camera):
    import cv2
    from sensor_msgs.msg import CompressedImage
    shown = detector.peer.collect(
        CompressedImage, detector.topic('camera/detections/debug_image/compressed'))
    with camera.streaming(image_msg(picture(scale=4))):
        detector.peer.wait_for(lambda: shown, 'compressed debug image')
    data = np.asarray(shown[0].data, np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (128, 192, 3)


def test_images_lost_on_the_way_are_counted(detector, camera):
    _, before = detector.diagnosis('camera camera', lambda s, v: True, 'counters')
    for _ in range(200):
        camera.send(image_msg(picture(), stamp_ns=7))
    camera.ask(image_msg(picture()))
    _, after = detector.diagnosis(
        'camera camera',
        lambda s, v: int(v['received']) - int(before['received']) == 201, 'all 201 images')
    assert int(after['published']) - int(before['published']) < 201
    assert int(after['received']) == int(after['published']) + int(after['dropped'])
