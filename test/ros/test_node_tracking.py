"""Ids of tracks in the messages of the real node."""

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture

pytestmark = pytest.mark.ros

SURE, WEAK = picture(red=[(1, 2, 255)]), picture(red=[(1, 2, 77)])  # scores 1.0 and 0.3


@pytest.fixture(scope='module')
def detector(start_detector):
    """Start an active node with one camera that tracks and one that does not."""
    # a busy machine may take seconds between two images
    detector = start_detector(
        cameras='[front, rear]', front__tracking=True, front__qos_reliability='reliable',
        rear__qos_reliability='reliable', camera__qos_reliability=None, score_threshold=0.5,
        track_buffer_s=60.0)
    detector.activate()
    return detector


@pytest.fixture(scope='module')
def front(detector):
    return CameraPeer(detector, 'front')


@pytest.fixture(scope='module')
def rear(detector):
    return CameraPeer(detector, 'rear')


def ids(message):
    return [detection.id for detection in message.detections]


def settle(front):
    """Let an object be seen until it has an id, and return it."""
    front.ask(image_msg(SURE))
    found, = ids(front.ask(image_msg(SURE)))
    return int(found)


def test_an_id_comes_with_the_second_image_and_stays(front):
    front.ask(image_msg(picture()))
    first, *others = [ids(front.ask(image_msg(SURE))) for _ in range(4)]
    assert first == ['']
    assert others[0] != [''] and others == others[:1] * 3


def test_a_camera_without_tracking_has_no_ids_and_the_same_detections(front, rear):
    message = image_msg(picture(red=[(0, 0, 255), (2, 3, 204)], green=[(3, 5, 77)]))
    with_ids, without = front.ask(message), rear.ask(message)
    assert ids(without) == ['', '']
    for found, expected in zip(with_ids.detections, without.detections, strict=True):
        assert (found.bbox, found.results) == (expected.bbox, expected.results)


def test_a_low_score_prolongs_the_track_and_is_not_published(front):
    number = settle(front)
    assert ids(front.ask(image_msg(WEAK))) == []
    assert ids(front.ask(image_msg(SURE))) == [str(number)]


def test_a_jump_in_time_begins_new_tracks(front):
    number = settle(front)
    front.received.clear()
    for sent in (1, 2):
        front.send(image_msg(SURE, stamp_ns=5_000_000_000 + sent))
        front.peer.wait_for(lambda sent=sent: len(front.received) == sent, 'answer')
    assert int(ids(front.received[-1])[0]) > number


def test_tracking_is_switched_while_the_node_runs(detector, front):
    number = settle(front)
    assert detector.set(front__tracking=False) == ''
    assert ids(front.ask(image_msg(SURE))) == ['']
    assert detector.set(front__tracking=True) == ''
    assert settle(front) >= number


def test_min_hits_is_live(detector, front):
    assert detector.set(track_min_hits=1) == ''
    front.ask(image_msg(picture()))
    assert ids(front.ask(image_msg(picture(green=[(3, 0, 255)])))) != ['']
    assert detector.set(track_min_hits=2) == ''


def test_an_id_is_not_given_again_after_a_deactivation(detector, front):
    number = settle(front)
    detector.change_state('deactivate')
    detector.change_state('activate')
    front.wait_until_answered()
    assert settle(front) > number


def test_what_would_change_the_published_detections_is_refused(detector):
    refused = detector.set(atomically=True, class_agnostic_nms=True,
                           class_thresholds=['red:0.6'])
    assert 'tracking needs boxes below the thresholds' in refused
    assert 'track_buffer_s' in detector.set(track_buffer_s=0.0)
