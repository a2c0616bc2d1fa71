"""The thread of a subscription: what reaches its callback, and how it ends."""

import threading

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header

from mbv2ssd_ros.ros.receiver import NoExecutor, Receiver, WaitSetUnavailable

TIMEOUT_S = 20.0


class Line:
    """A publisher, and a receiver that hears it."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node('line', context=self.context)
        self.errors, self.heard = [], []
        self._arrived = threading.Condition()
        self._publisher = self.node.create_publisher(Header, 'line', 10)
        self.react = lambda text: None
        self.subscription = self.node.create_subscription(
            Header, 'line', self._hear, 10, callback_group=NoExecutor())
        self.receiver = Receiver(self.subscription, self.context, self.errors.append)

    def _hear(self, message, info):
        with self._arrived:
            self.heard.append((message.frame_id, threading.current_thread()))
            self._arrived.notify()
        self.react(message.frame_id)

    def say(self, text):
        """Publish."""
        self._publisher.publish(Header(frame_id=text))

    def wait_for(self, text):
        """Wait until it was heard."""
        with self._arrived:
            assert self._arrived.wait_for(
                lambda: text in [heard for heard, _ in self.heard], TIMEOUT_S), text

    def close(self):
        """End all."""
        self.receiver.stop()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def line():
    """Give a line that works."""
    made = Line()
    made.say('first')
    made.wait_for('first')
    yield made
    made.close()


def test_messages_come_in_a_thread_of_their_own_whoever_spins(line):
    executor = SingleThreadedExecutor(context=line.context)
    executor.add_node(line.node)
    line.say('second')
    executor.spin_once(timeout_sec=0.1)
    line.wait_for('second')
    assert {thread.name for _, thread in line.heard} == {'receive-/line'}
    executor.shutdown()


def test_an_error_costs_its_message_only(line):
    line.react = lambda text: 1 / (text != 'bad')
    for text in ('bad', 'good'):
        line.say(text)
    line.wait_for('good')
    assert len(line.errors) == 1
    assert 'ZeroDivisionError' in line.errors[0]


def test_nothing_is_heard_after_the_end(line):
    assert line.receiver.stop()
    line.say('late')
    assert [text for text, _ in line.heard] == ['first']


def test_a_callback_that_does_not_return_is_left_behind(line):
    release = threading.Event()
    line.react = lambda text: release.wait(TIMEOUT_S)
    line.say('stuck')
    line.wait_for('stuck')
    assert not line.receiver.stop(timeout_s=0.01)
    release.set()
    assert line.receiver.stop()


def test_a_context_that_is_gone_is_an_error_at_the_start(line, monkeypatch):
    def refuse(*sizes):
        raise RuntimeError('the given context is not valid')
    monkeypatch.setattr(rclpy_implementation, 'WaitSet', refuse)
    with pytest.raises(RuntimeError, match='context is not valid'):
        Receiver(line.subscription, line.context, line.errors.append)


def test_a_wait_set_of_another_form_is_told_from_other_errors(line, monkeypatch):
    monkeypatch.setattr(rclpy_implementation, 'WaitSet', lambda subscriptions: None)
    with pytest.raises(WaitSetUnavailable, match='1 positional argument'):
        Receiver(line.subscription, line.context, line.errors.append)


def test_a_camera_without_a_receiver_leaves_no_subscription_behind(line, monkeypatch):
    from rclpy.lifecycle import LifecycleNode

    from mbv2ssd_ros.ros import camera
    from mbv2ssd_ros.ros.parameters import CameraParams

    def refuse(*arguments):
        raise RuntimeError('no more wait sets')
    monkeypatch.setattr(camera, 'Receiver', refuse)
    node = LifecycleNode('owner', context=line.context)
    front = camera.Camera(node, 0, CameraParams(
        'front', 'front/image_raw', 'front/detections', 'raw', 'best_effort'))
    before = len(list(node.subscriptions))
    with pytest.raises(RuntimeError, match='no more wait sets'):
        front.open(lambda *frame: None, lambda *event: None)
        front.follow('')
    front.close()
    assert len(list(node.subscriptions)) == before
    front.destroy()
    node.destroy_node()
