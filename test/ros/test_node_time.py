"""Time as robots have it: bags that loop, simulated clocks that jump."""

import time

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture, stamp_ns
from helpers.needs import need

pytestmark = pytest.mark.ros

SECOND = 1_000_000_000


def answer_to(camera, stamp):
    """Publish an image with this stamp until it is answered."""
    image = image_msg(picture(), stamp_ns=stamp)

    def answered():
        camera.send(image)
        camera.peer.spin_for(0.02)
        return [m for m in camera.received if stamp_ns(m.header) == stamp]
    camera.received.clear()
    return camera.peer.wait_for(answered, lambda: f'answer; {camera.detector.log()}')[0]


def test_stamps_that_go_back_are_answered_and_counted(start_detector):
    detector = start_detector()
    detector.activate()
    camera = CameraPeer(detector)
    _, before = detector.diagnosis('camera camera', lambda s, v: v['in_flight'] == '0', 'counters')
    for stamp in (3 * SECOND, 4 * SECOND, 3 * SECOND):
        camera.send(image_msg(picture(), stamp_ns=stamp))
        camera.peer.wait_for(
            lambda stamp=stamp: camera.received and stamp_ns(camera.received[-1].header) == stamp,
            f'answer to {stamp}')
    # the probe before was of today, so the first of the three goes back as well
    detector.diagnosis(
        'camera camera', lambda s, v: int(v['stamps_not_increasing'])
        == int(before['stamps_not_increasing']) + 2, 'two stamps that went back')


def test_age_is_measured_in_simulated_time_also_after_it_jumped_back(start_detector):
    messages = need('rosgraph_msgs.msg')
    detector = start_detector(use_sim_time=True, max_age_ms=1000.0)
    detector.activate()
    clock = detector.peer.node.create_publisher(messages.Clock, '/clock', 10)
    now = messages.Clock()
    detector.peer.node.create_timer(0.05, lambda: clock.publish(now))  # one can get lost
    camera = CameraPeer(detector, wait_for_subscriber=False)
    camera.peer.wait_for(camera.publisher.get_subscription_count, 'subscription')

    def stale():
        _, values = detector.diagnosis('camera camera', lambda s, v: True, 'counters')
        return int(values['dropped.stale'])
    now.clock.sec = 100
    assert stamp_ns(answer_to(camera, 100 * SECOND).header) == 100 * SECOND
    before = stale()

    def dropped():
        camera.send(image_msg(picture(), stamp_ns=98 * SECOND))  # two seconds old
        return stale() > before
    camera.peer.wait_for(dropped, 'stale image')
    now.clock.sec = 10  # the bag starts again
    assert stamp_ns(answer_to(camera, 10 * SECOND).header) == 10 * SECOND


def test_stamps_in_the_future_are_a_warning_where_ages_matter(start_detector):
    detector = start_detector(max_age_ms=200.0)
    detector.activate()
    camera = CameraPeer(detector)
    ahead = time.time_ns() + 3600 * SECOND

    def warned():
        camera.send(image_msg(picture(), stamp_ns=ahead))
        camera.peer.spin_for(0.05)
        return 'max_age_ms has no effect: stamps lie 3' in detector.log()
    camera.peer.wait_for(warned, lambda: f'warning; {detector.log()}')
    assert detector.set(max_age_ms=0.0) == ''
    with camera.streaming(image_msg(picture())):
        detector.diagnosis('camera camera', lambda s, v: s.level == b'\0', 'level OK')


def test_simulated_time_that_stands_still_is_a_warning_where_ages_matter(start_detector):
    detector = start_detector(use_sim_time=True, max_age_ms=200.0)
    detector.activate()
    camera = CameraPeer(detector)
    with camera.streaming(image_msg(picture())):
        status, _ = detector.diagnosis(
            'camera camera', lambda s, v: 'stands still' in s.message, 'warning')
    assert status.level == b'\1'
    assert status.message.endswith('.000 s; is /clock published?')
