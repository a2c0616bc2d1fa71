"""Parameters from files and services: taken together between two frames, or refused."""

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture
from helpers.paths import ROOT

pytestmark = pytest.mark.ros

SCENE = picture(red=[(0, 0, 255), (1, 1, 153)], green=[(2, 2, 204)])  # scores 1.0, 0.6, 0.8
DEFAULTS = {
    'score_threshold': 0.5, 'nms_iou': 0.45, 'max_detections': 100, 'class_allow': [''],
    'class_thresholds': [''], 'camera__max_rate_hz': 0.0, 'max_age_ms': 0.0}


@pytest.fixture(scope='module')
def active(start_detector):
    """Start an active node."""
    detector = start_detector(score_threshold=0.5)
    detector.activate()
    return detector


@pytest.fixture(scope='module')
def camera_peer(active):
    """Play its camera."""
    return CameraPeer(active)


@pytest.fixture
def camera(active, camera_peer):
    """Play the camera of a node with the parameters it started with."""
    assert active.set(**DEFAULTS) == ''
    return camera_peer


def classes(camera):
    """Return the classes found in the scene."""
    return [d.results[0].hypothesis.class_id for d in camera.ask(image_msg(SCENE)).detections]


@pytest.mark.parametrize(('change', 'expected'), [
    ({}, ['red', 'green', 'red']),
    ({'score_threshold': 0.7}, ['red', 'green']),
    ({'max_detections': 1}, ['red']),
    ({'class_allow': ['green']}, ['green']),
    ({'class_thresholds': ['red:0.9']}, ['red', 'green']),
    ({'score_threshold': 0.9, 'class_thresholds': ['green:0.1']}, ['red', 'green']),
])
def test_a_live_parameter_counts_from_the_next_frame(camera, active, change, expected):
    assert active.set(**change) == ''
    assert classes(camera) == expected


@pytest.mark.parametrize(('change', 'reason'), [
    ({'class_allow': ['unicorn']}, "class_allow: the model knows no class 'unicorn'"),
    ({'class_thresholds': ['unicorn:0.5']}, 'class_thresholds: the model knows no class'),
    ({'class_thresholds': ['red']}, "expected 'class:threshold'"),
    ({'score_threshold': 1.5}, 'score_threshold'),
    ({'max_detections': 0}, 'max_detections'),
    ({'model_path': 'x'}, 'model_path is read when the node is configured, and it is active'),
    ({'cameras': ['x']}, 'cameras is read when the node is configured'),
    ({'camera__image_topic': 'x'}, 'camera.image_topic is read when the node is configured'),
    ({'ort_threads': 2}, 'ort_threads is read when the node is configured'),
])
def test_what_cannot_be_is_refused_with_the_reason(camera, active, change, reason):
    assert reason in active.set(**change)
    assert classes(camera) == ['red', 'green', 'red']


def test_parameters_set_together_are_taken_together_or_not_at_all(camera, active):
    refused = active.set(atomically=True, score_threshold=0.7, class_allow=['unicorn'])
    assert 'unicorn' in refused
    assert active.get('score_threshold') == 0.5
    assert classes(camera) == ['red', 'green', 'red']
    assert active.set(atomically=True, score_threshold=0.7, class_allow=['green']) == ''
    assert classes(camera) == ['green']


def test_the_value_it_has_is_no_change(camera, active, tiny_model):
    assert active.set(model_path=str(tiny_model), cameras=['camera']) == ''


def test_labels_are_published_again_with_a_new_threshold(camera, active):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import LabelInfo
    labels = active.peer.collect(
        LabelInfo, f'{active.name}/label_info',
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    active.peer.wait_for(lambda: labels, 'labels')
    assert active.set(score_threshold=0.75) == ''
    active.peer.wait_for(lambda: labels[-1].threshold == 0.75, 'labels with the new threshold')


def test_a_rate_limit_drops_and_counts(camera, active):
    _, before = active.diagnosis('camera camera', lambda s, v: True, 'counters')
    assert active.set(camera__max_rate_hz=0.1) == ''  # one frame, then none for ten seconds
    camera.ask(image_msg(SCENE))
    for _ in range(5):
        camera.send(image_msg(SCENE, stamp_ns=1))
        active.peer.spin_for(0.02)
    _, after = active.diagnosis(
        'camera camera', lambda s, v: int(v['received']) - int(before['received']) >= 6, 'frames')
    limited, skipped = (int(after[f'dropped.{reason}']) - int(before[f'dropped.{reason}'])
                        for reason in ('rate_limited', 'skipped'))
    assert limited + skipped == 5
    assert limited > 0


def test_an_old_image_is_stale(camera, active):
    assert active.set(max_age_ms=60000.0) == ''
    camera.ask(image_msg(SCENE))  # stamped now
    _, before = active.diagnosis('camera camera', lambda s, v: True, 'counters')
    camera.received.clear()
    camera.send(image_msg(SCENE, stamp_ns=1_000_000_000))  # of 1970
    status, _ = active.diagnosis(
        'camera camera', lambda s, v: v['dropped.stale'] != before['dropped.stale'], 'stale drop')
    assert 'max_age_ms is 60000' in status.message
    assert camera.received == []


def parameter_file(tmp_path, text):
    """Write a parameter file."""
    path = tmp_path / 'parameters.yaml'
    path.write_text('/**:\n  ros__parameters:\n    ' + text.replace('\n', '\n    '))
    return path


BAD_FILES = {
    'score_treshold: 0.5':
        "there is no parameter 'score_treshold'; did you mean 'score_threshold'?",
    'camera: {image_topik: x}': "'camera.image_topik'; did you mean 'camera.image_topic'?",
    'score_threshold: high': "'score_threshold' is 'high' of type STRING, expected DOUBLE",
    'score_threshold: 1.5': "'score_threshold'",
    'cameras: [1st]': "cameras has '1st'",
    'backend: abacus\ncamera: {transport: pigeon}': "backend is 'abacus'",
}


@pytest.fixture(scope='module')
def misled(start_detector, tmp_path_factory):
    """Start a node with each bad file, all at once."""
    return {text: start_detector(
        '--params-file', str(parameter_file(tmp_path_factory.mktemp('bad'), text)), autostart=True)
        for text in BAD_FILES}


@pytest.mark.parametrize('text', BAD_FILES)
def test_a_bad_parameter_file_fails_to_configure(misled, text):
    detector = misled[text]
    detector.peer.wait_for(lambda: 'autostart failed' in detector.log(), 'end of autostart')
    assert any('configure failed' in line and BAD_FILES[text] in line
               for line in detector.log().splitlines()), detector.log()
    assert detector.state() == 'unconfigured'


def test_a_bad_value_in_a_file_can_be_corrected(misled):
    detector = misled['score_threshold: high']
    assert not detector.change_state('configure')
    assert detector.set(score_threshold=0.5) == ''
    assert detector.change_state('configure')


def test_two_bad_values_can_be_corrected_one_after_the_other(misled):
    detector = misled['backend: abacus\ncamera: {transport: pigeon}']
    assert detector.set(backend='auto') == ''
    assert not detector.change_state('configure')
    detector.peer.wait_for(
        lambda: "configure failed: camera.transport is 'pigeon'" in detector.log(), 'other reason')
    assert detector.set(camera__transport='raw') == ''
    assert "backend is 'abacus'" in detector.set(backend='abacus')  # nothing is wrong any more
    assert detector.change_state('configure'), detector.log()


def test_a_file_may_write_whole_numbers_empty_lists_and_other_peoples_names(
        start_detector, tmp_path):
    path = parameter_file(tmp_path, (
        'score_threshold: 1\nclass_allow: []\nrobot_description: x\nrear: {image_topic: y}'))
    detector = start_detector('--params-file', str(path))
    assert detector.change_state('configure'), detector.log()
    assert detector.get('score_threshold') == 1.0
    assert "'robot_description' is not one of this node" in detector.log()
    assert 'the parameters of rear are not used: cameras has only camera' in detector.log()


def test_the_shipped_file_works_as_it_is(start_detector):
    path = ROOT / 'config' / 'detector.yaml'
    detector = start_detector('--params-file', str(path))
    assert detector.change_state('configure'), detector.log()


def test_cameras_can_be_named_before_configure(misled):
    detector = misled['cameras: [1st]']
    assert detector.set(cameras=['left', 'right']) == ''
    assert detector.change_state('configure'), detector.log()
    assert detector.get('right.image_topic') == 'right/image_raw'


def test_quality_of_service_that_the_node_would_ignore_is_refused(start_detector):
    override = 'qos_overrides./camera/image_raw.subscription.depth'
    detector = start_detector('-p', f'{override}:=5')
    assert not detector.change_state('configure')
    assert f'{override} is not supported; set <camera>.qos_reliability' in detector.log()
