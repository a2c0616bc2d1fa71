"""The message interfaces are the standard ones, however built, and carry our values."""

import json

import ament_index_python as ament_index
import numpy as np
import pytest
from rclpy import serialization as rclpy_serialization
import vision_msgs.msg as vision_msgs

from helpers.needs import need

# Of vision_msgs 4.1.1 and sensor_msgs 5.3.6. A type with another hash is another type.
TYPE_HASHES = {
    'vision_msgs/msg/Detection2DArray':
        'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'vision_msgs/msg/Detection2D':
        'RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
    'vision_msgs/msg/ObjectHypothesisWithPose':
        'RIHS01_41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc',
    'vision_msgs/msg/VisionInfo':
        'RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284',
    'vision_msgs/msg/LabelInfo':
        'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'sensor_msgs/msg/Image':
        'RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47',
}


@pytest.mark.parametrize('type_name', TYPE_HASHES)
def test_type_hash_is_the_standards(type_name):
    package, _, name = type_name.split('/')
    share = ament_index.get_package_share_directory(package)
    try:
        with open(f'{share}/msg/{name}.json', encoding='utf-8') as file:
            hashes = json.load(file)['type_hashes']
    except FileNotFoundError:
        pytest.skip(f'{share}/msg/{name}.json is absent: ROS 2 before Iron has no type hashes')
    found = {entry['type_name']: entry['hash_string'] for entry in hashes}
    assert found[type_name] == TYPE_HASHES[type_name]


def round_trip(message):
    data = rclpy_serialization.serialize_message(message)
    return rclpy_serialization.deserialize_message(data, type(message))


def test_detections_survive_a_round_trip():
    detection = vision_msgs.Detection2D(id='7')
    detection.header.frame_id = 'camera'
    detection.header.stamp.sec, detection.header.stamp.nanosec = 12, 345_678_901
    detection.bbox.center.position.x, detection.bbox.center.position.y = 320.5, 99.25
    detection.bbox.size_x, detection.bbox.size_y = 64.0, 31.5
    hypothesis = vision_msgs.ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = 'pottedplant', 0.875
    detection.results.append(hypothesis)
    message = vision_msgs.Detection2DArray(header=detection.header, detections=[detection] * 3)

    received = round_trip(message)

    assert received == message
    assert len(received.detections) == 3
    assert received.detections[0].results[0].hypothesis.class_id == 'pottedplant'
    assert received.detections[0].bbox.center.position.y == 99.25


def test_empty_detections_keep_the_header():
    message = vision_msgs.Detection2DArray()
    message.header.frame_id = 'camera'
    received = round_trip(message)
    assert received.header.frame_id == 'camera'
    assert list(received.detections) == []


def test_label_info_carries_index_and_name():
    classes = [vision_msgs.VisionClass(class_id=15, class_name='person')]
    received = round_trip(vision_msgs.LabelInfo(class_map=classes, threshold=0.5))
    assert (received.class_map[0].class_id, received.class_map[0].class_name) == (15, 'person')
    assert received.threshold == 0.5


def test_status_survives_a_round_trip():
    messages = need('mbv2ssd_msgs.msg')
    camera = messages.CameraStatus(
        name='front', level=messages.CameraStatus.ERROR, state='ERROR', reason='no image for 2 s',
        received=2**40, published=2**40 - 3, in_flight=1,
        drop_reasons=['replaced', 'bad_image'], drop_counts=[1, 1],
        input_rate_hz=30.0, output_rate_hz=29.5,
        stages=['queue', 'inference'], p50_ms=[0.5, 12.0], p95_ms=[1.0, 14.0], p99_ms=[2.0, 15.0],
        age_at_publish_p50_ms=16.0, age_at_publish_p95_ms=18.0, age_at_publish_p99_ms=21.0)
    camera.last_image_stamp.sec = 12
    status = messages.DetectorStatus(
        model='model.onnx', model_fingerprint='0123abcd', backend='ort',
        backend_detail='CPUExecutionProvider, 2 threads', cameras=[camera])

    received = round_trip(status)

    assert received == status
    front = received.cameras[0]
    assert front.received == front.published + front.in_flight + sum(front.drop_counts)
    np.testing.assert_array_equal(front.p95_ms, [1.0, 14.0])


def test_status_levels_are_those_of_diagnostics():
    messages = need('mbv2ssd_msgs.msg')
    diagnostics = need('diagnostic_msgs.msg')
    for level in ('OK', 'WARN', 'ERROR', 'STALE'):
        ours = getattr(messages.CameraStatus, level)
        assert bytes([ours]) == getattr(diagnostics.DiagnosticStatus, level)
