"""
Play the images of a recording on camera topics, without rosbag2.

Reads rosbag2 (sqlite3, mcap, compressed) and ROS 1 bags. In real time, faster or slower, or each
image as soon as the one before it was answered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path
import sys
import time
from typing import Any

from mbv2ssd_ros.core.arguments import positive
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.core.stamps import split_stamp, stamp_ns
from mbv2ssd_ros.tools.cli.json_file import json_lines
from mbv2ssd_ros.tools.cli.program import run, say
from mbv2ssd_ros.tools.cli.ros_session import ros_node
from mbv2ssd_ros.tools.cli.settings import flag, option, read, topics_option
from mbv2ssd_ros.tools.live.cameras import require_ros2_name
from mbv2ssd_ros.tools.playing.publishing import (
    camera_qos,
    let_frames_arrive,
    QOS_DEPTH,
    SETTLE_S,
    share_large_images,
    wait_for,
    with_data,
)

PROGRAM = 'play_bag'


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is played, and how."""

    bag: Path = option(type=Path, help='folder of a rosbag2, a .mcap, .db3 or .bag file')
    topic: list[str] = topics_option('all that have images')
    rate: float = option('--rate', type=positive, default=1.0, metavar='FACTOR',
                         help='2 plays twice as fast (default %(default)g)')
    max_gap: float = option('--max-gap', type=positive, default=10.0, metavar='S', help='cut '
                            'longer gaps of the recording to this (default %(default)g)')
    answered_by: list[str] = option(
        '--answered-by', action='append', default=[], metavar='TOPIC',
        help='Detection2DArray topic of the node; the next image is published when the last one '
        'was answered. Once for each --topic')
    patience: float = option('--patience', type=positive, default=2.0, metavar='S', help='how '
                             'long to wait for an answer, in seconds (default %(default)g)')
    stamps: str = option(
        '--stamps', choices=('recorded', 'now'), default='recorded',
        help='of the headers: as they are, or the time of publishing (default %(default)s)')
    reliable: bool = flag(
        '--reliable', 'reliable QoS (default: best effort, as camera drivers have it)')
    no_wait: bool = flag('--no-wait', 'start at once, without waiting for a subscriber of each '
                         'topic')
    record: Path | None = option('--record', type=Path, metavar='FILE', help='write topic and '
                                 'stamp of every frame there, as JSON lines')
    ros_args: Sequence[str] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 0 also after SIGINT, 1 when the bag cannot be played to its end."""
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  play_bag drive/\n'
        '  play_bag drive.mcap --topic /front/image_raw --rate 0.5 --stamps now\n'
        '  play_bag drive/ --topic /front/image_raw --answered-by /front/detections\n'
        'ROS arguments follow --ros-args, such as --ros-args -r /a:=/b')
    return run(PROGRAM, lambda: _play(settings), interrupted='', interrupted_code=0)


def paced_as_recorded(messages: Iterable[Any], factor: float, max_gap_s: float) -> Iterator[Any]:
    """
    Hold each message back until its `log_ns` is due; late ones come at once.

    A factor of 2 plays twice as fast. Gaps of the recording that are longer are cut to max_gap_s,
    which is said.
    """
    start = first_ns = None
    last_ns = 0
    for message in messages:
        if start is None or first_ns is None:
            start, first_ns = time.monotonic(), message.log_ns
        elif (gap_s := 1e-9 * (message.log_ns - last_ns)) > max_gap_s:
            say(PROGRAM, f'nothing was recorded for {gap_s:.1f} s, or a clock was set: cut to '
                f'{max_gap_s:g} s (--max-gap)')
            first_ns += message.log_ns - last_ns - round(max_gap_s * 1e9)
        last_ns = message.log_ns
        due = start + 1e-9 * (message.log_ns - first_ns) / factor
        time.sleep(max(0.0, due - time.monotonic()))
        yield message


def image_message(kind: Any, content: Any, now_ns: int | None) -> Any:
    """
    Make a ROS message of the class `kind` from the one of rosbags.

    `now_ns` is for the header; None: the stamp that was recorded.
    """
    message = kind()
    stamp = message.header.stamp
    stamp.sec, stamp.nanosec = split_stamp(stamp_ns(content.header) if now_ns is None else now_ns)
    message.header.frame_id = content.header.frame_id
    names = (('format',) if hasattr(content, 'format')
             else ('height', 'width', 'encoding', 'is_bigendian', 'step'))
    for name in names:
        value = getattr(content, name)
        setattr(message, name, value if isinstance(value, str) else int(value))
    return with_data(message, content.data)


def _play(settings: Settings) -> None:
    from mbv2ssd_ros.evaluation.bags.channel import absolute
    from mbv2ssd_ros.evaluation.bags.message_types import IMAGE_KINDS
    from mbv2ssd_ros.evaluation.bags.reader import Bag
    if settings.answered_by and len(settings.answered_by) != len(settings.topic):
        raise ConfigError('--answered-by is needed once for each --topic, in their order')
    share_large_images(os.environ)
    with Bag(settings.bag) as bag:
        found = {topic.name: topic.kind for topic in bag.topics if topic.kind in IMAGE_KINDS}
        if not found:
            raise DataError(f'{settings.bag}: has no topic with images; it has {bag.contents()}')
        bag.require(settings.topic, IMAGE_KINDS)
        topics = {name: found[name] for name in map(absolute, settings.topic or found)}
        for name in topics:
            require_ros2_name(name)
        with ros_node(PROGRAM, settings.ros_args) as node, json_lines(settings.record) as record:
            player = _Player(node, topics, settings)
            if not settings.no_wait:
                player.wait_for_subscribers()
            say(PROGRAM, f'{settings.bag}: {", ".join(topics)}')
            try:
                for topic, sent_ns in player.play(bag.messages(list(topics), IMAGE_KINDS)):
                    record(topic=topic, stamp_ns=sent_ns)
            finally:
                player.end()


class _Player:
    """Publishers for the topics of a bag, and a clock or answers that set the pace."""

    def __init__(self, node: Any, topics: dict[str, str], settings: Settings) -> None:
        from sensor_msgs.msg import CompressedImage, Image
        self._node, self._settings = node, settings
        self._kinds = {name: Image if kind.endswith('/Image') else CompressedImage
                       for name, kind in topics.items()}
        self._publishers = {
            name: node.create_publisher(kind, name, camera_qos(settings.reliable))
            for name, kind in self._kinds.items()}
        self._answers = _Answers(
            node, dict(zip(topics, settings.answered_by, strict=False)))
        self._counts = {'published': Counter[str](), 'unanswered': Counter[str](),
                        'unreadable': Counter[str]()}

    def wait_for_subscribers(self) -> None:
        """Wait until every topic has a subscriber and, if answers are awaited, a source."""
        wait_for(PROGRAM, 'a subscriber of', lambda: [
            name for name, publisher in self._publishers.items()
            if not publisher.get_subscription_count()])
        wait_for(PROGRAM, 'a publisher of', self._answers.unanswerable)
        time.sleep(SETTLE_S)

    def play(self, messages: Iterable[Any]) -> Iterator[tuple[str, int]]:
        """Publish readable messages; yield topic and stamp in ns of each that is published."""
        if not self._answers:
            messages = paced_as_recorded(messages, self._settings.rate, self._settings.max_gap)
        for message in messages:
            if message.content is None:
                self._counts['unreadable'][message.topic] += 1
            else:
                yield self._publish(message)

    def end(self) -> None:
        """Wait for the last frames and print the counts."""
        for publisher in self._publishers.values():
            let_frames_arrive(publisher, self._settings.reliable)
        for name in self._publishers:
            extra = ''.join(f', {counts[name]} {what}' for what, counts in self._counts.items()
                            if what != 'published' and counts[name])
            say(PROGRAM,
                f'{self._counts["published"][name]} frames published on {name}{extra}')

    def _publish(self, message: Any) -> tuple[str, int]:
        topic = message.topic
        now_ns = (self._node.get_clock().now().nanoseconds if self._settings.stamps == 'now'
                  else None)
        out = image_message(self._kinds[topic], message.content, now_ns)
        sent_ns = stamp_ns(out.header)
        self._answers.stamps[topic].discard(sent_ns)  # which a bag may repeat
        if self._settings.reliable and not self._counts['published'][topic] % QOS_DEPTH:
            # a publisher keeps only as many for a late subscriber
            let_frames_arrive(self._publishers[topic], reliable=True)
        self._publishers[topic].publish(out)
        self._counts['published'][topic] += 1
        if not self._answers.wait(topic, sent_ns, self._settings.patience):
            self._counts['unanswered'][topic] += 1
        return topic, sent_ns


class _Answers:
    """Detections that came, by stamp; false where none are awaited."""

    def __init__(self, node: Any, topics: dict[str, str]) -> None:
        self.stamps: dict[str, set[int]] = defaultdict(set)  # by topic of images
        self._subscriptions = []
        if not topics:
            return
        from rclpy.executors import SingleThreadedExecutor
        from vision_msgs.msg import Detection2DArray
        for name, answers in topics.items():
            self._subscriptions.append(node.create_subscription(
                Detection2DArray, answers, partial(self._receive, name), 10))
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def __bool__(self) -> bool:
        return bool(self._subscriptions)

    def unanswerable(self) -> list[str]:
        """Return the topics of answers without a publisher."""
        return [subscription.topic_name for subscription in self._subscriptions
                if not subscription.get_publisher_count()]

    def wait(self, topic: str, stamp_ns: int, patience_s: float) -> bool:
        """Wait for the answer to an image; False when it did not come in time."""
        if not self:
            return True
        deadline = time.monotonic() + patience_s
        while stamp_ns not in self.stamps[topic]:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._executor.spin_once(timeout_sec=left)
        self.stamps[topic].clear()  # late answers are obsolete
        return True

    def _receive(self, topic: str, message: Any) -> None:
        self.stamps[topic].add(stamp_ns(message.header))


if __name__ == '__main__':
    sys.exit(main())
