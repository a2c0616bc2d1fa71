"""
The processes that `benchmark` starts in addition to the node: a camera and a listener.

Each reads commands from standard input and answers on standard output, one JSON object a line,
and ends with its input. Times are CLOCK_MONOTONIC, which all processes of a machine share; the
stamps in the messages are the time of day, as a camera driver sets them, and serve as names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import json
from pathlib import Path
import sys
import threading
import time
from typing import Any

from mbv2ssd_ros.core.stamps import split_stamp, stamp_ns
from mbv2ssd_ros.tools.cli.ros_session import ros_node
from mbv2ssd_ros.tools.play_images import image_message
from mbv2ssd_ros.tools.playing.image_source import open_source, passes
from mbv2ssd_ros.tools.playing.publishing import camera_qos, paced

Command = dict[str, Any]
Answer = dict[str, Any]


def main() -> int:
    """Play the role of the first argument, with options in JSON, until standard input ends."""
    role, options = sys.argv[1:]
    play: dict[str, Callable[..., None]] = {'camera': _camera, 'listener': _listener}
    try:
        play[role](**json.loads(options))
    except KeyboardInterrupt:
        pass
    return 0


def serve(answer: Callable[[Command], Answer]) -> None:
    """Answer commands until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def _camera(images: str, size_wh: tuple[int, int], topics: Sequence[str], reliable: bool) -> None:
    from std_msgs.msg import Header
    messages = [image_message(frame, Header(frame_id='camera'))
                for frame in passes(open_source(Path(images), size_wh), repeat=False)]
    with ros_node('benchmark_camera', ()) as node:
        kind, qos = type(messages[0]), camera_qos(reliable)
        publishers = {topic: node.create_publisher(kind, topic, qos) for topic in topics}

        def publish(command: Command) -> Answer:
            chosen, sent = [publishers[topic] for topic in command['topics']], []
            for number in paced(range(command['count']), command['rate_hz']):
                message = messages[number % len(messages)]
                stamp = message.header.stamp
                for publisher in chosen:  # as cameras with a common trigger do
                    now_ns = time.time_ns()
                    stamp.sec, stamp.nanosec = split_stamp(now_ns)
                    sent.append((now_ns, time.monotonic_ns()))
                    publisher.publish(message)
            return {'sent': sent}
        serve(publish)


def _listener(image_topic: str, detections_topics: Sequence[str], reliable: bool) -> None:
    # Both ends of the bare transport allocate as the node does: large buffers stay in the process.
    from mbv2ssd_ros.ros.memory import keep_large_buffers
    keep_large_buffers()
    with ros_node('benchmark_listener', ()) as node:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import ExternalShutdownException
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray
        inbox = _Inbox()
        # as in the node: the newest image only
        image_qos = camera_qos(reliable)
        image_qos.depth = 1
        node.create_subscription(Image, image_topic, inbox.receive, image_qos)
        for topic in detections_topics:
            node.create_subscription(
                Detection2DArray, topic, inbox.receive,
                QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE))
        node.create_subscription(DiagnosticArray, '/diagnostics', inbox.receive_diagnostics, 10)

        def serve_and_stop() -> None:
            serve(inbox.answer)
            node.context.try_shutdown()
        # its own thread: it sleeps in a read while the executor works
        threading.Thread(target=serve_and_stop, daemon=True).start()
        try:
            import rclpy
            rclpy.spin(node)
        except ExternalShutdownException:
            pass


class _Inbox:
    """Arrivals since they were last taken."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._received: list[tuple[int, int, int]] = []  # stamp, time of arrival, detections
        self._diagnostics: dict[str, dict[str, str]] | None = None

    def receive(self, message: Any) -> None:
        """Keep the arrival of an image or of detections."""
        arrival = (stamp_ns(message.header), time.monotonic_ns(),
                   len(getattr(message, 'detections', ())))
        with self._arrived:
            self._received.append(arrival)
            self._arrived.notify()

    def receive_diagnostics(self, message: Any) -> None:
        with self._arrived:
            self._diagnostics = {
                status.name: {entry.key: entry.value for entry in status.values}
                for status in message.status}
            self._arrived.notify()

    def answer(self, command: Command) -> Answer:
        """
        Execute a command from standard input.

        Waits for the next report of the node, by status and key (None when none comes), or for a
        number of arrivals or a time, whichever is first; returns and removes them.
        """
        with self._arrived:
            if 'diagnostics' in command:
                self._diagnostics = None
                self._arrived.wait_for(lambda: self._diagnostics, command['timeout_s'])
                return {'diagnostics': self._diagnostics}
            self._arrived.wait_for(
                lambda: len(self._received) >= command['count'], command['timeout_s'])
            received, self._received = self._received, []
            return {'received': received}


if __name__ == '__main__':
    sys.exit(main())
