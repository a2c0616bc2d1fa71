"""Images are received only while somebody wants detections, and not while switched off."""

import os
from pathlib import Path

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture

pytestmark = pytest.mark.ros

# Python runs this at its start: rclpy of Humble has no event for matched subscribers.
SITECUSTOMIZE = '''
import rclpy.event_handler as events

class WithoutMatched(events.PublisherEventCallbacks):
    def __init__(self, *, incompatible_qos=None, use_default_callbacks=True):
        super().__init__(incompatible_qos=incompatible_qos,
                         use_default_callbacks=use_default_callbacks)

events.PublisherEventCallbacks = WithoutMatched
'''
RED = picture(red=[(1, 2, 255)])


def camera(detector, name):
    """Play a camera without subscribing to its detections."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image
    return detector.peer.node.create_publisher(
        Image, detector.topic(f'{name}/image_raw'), QoSProfile(depth=10))


def wait_until(detector, condition, what):
    detector.peer.wait_for(condition, lambda: f'{what}; {detector.log()}')


@pytest.fixture(scope='module', params=['told by events', 'as in Humble'])
def detector(request, start_detector, tmp_path_factory):
    """Start an active lazy node with two cameras."""
    folder = tmp_path_factory.mktemp('site')
    if request.param == 'as in Humble':
        (folder / 'sitecustomize.py').write_text(SITECUSTOMIZE)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get('PYTHONPATH')]))
    detector = start_detector(cameras='[front, rear]', lazy=True, silence_timeout_s=0.5,
                              camera__qos_reliability=None, score_threshold=0.5,
                              environment={'PYTHONPATH': path})
    detector.activate()
    return detector


def test_nothing_is_received_while_nobody_subscribes_and_that_is_no_fault(detector):
    front = camera(detector, 'front')
    detector.peer.spin_for(1.0)  # longer than the silence that would be an error
    assert front.get_subscription_count() == 0
    status, _ = detector.diagnosis('camera front', lambda s, v: 'lazy' in s.message, 'reason')
    assert (status.level, status.message) == (
        b'\0', 'not subscribed: nobody subscribes to its outputs (lazy)')


def test_a_subscriber_brings_one_camera_to_life_and_its_end_ends_it(detector):
    front, rear = camera(detector, 'front'), camera(detector, 'rear')
    watcher = CameraPeer(detector, 'front')  # waits until it is answered
    assert [part.results[0].hypothesis.class_id
            for part in watcher.ask(image_msg(RED)).detections] == ['red']
    assert (front.get_subscription_count(), rear.get_subscription_count()) == (1, 0)
    for subscription in list(detector.peer.node.subscriptions):
        if subscription.topic_name == detector.topic('front/detections'):
            detector.peer.node.destroy_subscription(subscription)
    wait_until(detector, lambda: not front.get_subscription_count(), 'end of the subscription')


def test_the_counters_go_on(detector):
    _, first = detector.diagnosis('camera front', lambda s, v: True, 'counters')
    assert int(first['published']) >= 1  # of the test before, while it was subscribed
    CameraPeer(detector, 'front').ask(image_msg(RED))
    detector.diagnosis('camera front',
                       lambda s, v: int(v['published']) > int(first['published']), 'counters')


def test_the_subscription_follows_a_hundred_times(detector):
    """Threads and files of the node do not grow."""
    from vision_msgs.msg import Detection2DArray
    rear, topic = camera(detector, 'rear'), detector.topic('rear/detections')

    def follow(times):
        for _ in range(times):
            watcher = detector.peer.node.create_subscription(
                Detection2DArray, topic, lambda message: None, 10)
            wait_until(detector, rear.get_subscription_count, 'subscription')
            detector.peer.node.destroy_subscription(watcher)
            wait_until(detector, lambda: not rear.get_subscription_count(), 'its end')
        process = Path(f'/proc/{detector.program.pid}')
        return [len(list((process / kind).iterdir())) for kind in ('task', 'fd')]
    before = follow(5)
    after = follow(100)
    assert after[0] <= before[0] + 1 and after[1] <= before[1] + 2


@pytest.fixture
def switch(detector):
    """Call ~/set_enabled."""
    from std_srvs.srv import SetBool

    def call(data):
        return detector.peer.call(SetBool, f'{detector.topic("detector")}/set_enabled',
                                  SetBool.Request(data=data), detector.log())
    yield call
    call(True)


def test_the_node_is_switched_off_and_on(detector, switch):
    watcher = CameraPeer(detector, 'front')
    answer = switch(False)
    assert (answer.success, answer.message) == (True, 'images are not received')
    wait_until(detector, lambda: not watcher.publisher.get_subscription_count(), 'silence')
    status, _ = detector.diagnosis('camera front', lambda s, v: 'set_enabled' in s.message,
                                   'reason')
    assert status.level == b'\0'
    assert switch(True).message == 'images are processed'
    watcher.wait_until_answered()
    assert watcher.ask(image_msg(RED)).detections


def test_the_switch_outlives_a_deactivation(detector, switch):
    watcher = CameraPeer(detector, 'front')
    switch(False)
    detector.change_state('deactivate')
    assert switch(False).message == 'images are not received once the node is active'
    detector.change_state('activate')
    detector.peer.spin_for(0.5)
    assert watcher.publisher.get_subscription_count() == 0
    switch(True)
    watcher.wait_until_answered()
