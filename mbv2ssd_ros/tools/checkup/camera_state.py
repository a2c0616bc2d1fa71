"""Cameras on the network, and whether they match the subscriptions of a detector node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING

IMAGE_TYPES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
BEST_EFFORT, RELIABLE = 'BEST_EFFORT', 'RELIABLE'
MOST_TOPICS = 5
MUCH_LOST = 0.1  # of the images
CLOCK_OFF_S = 1.0
_LARGE_IMAGES = ('start the camera driver with FASTRTPS_DEFAULT_PROFILES_FILE='
                 '<share>/config/fastdds_large_images.xml (from Kilted on '
                 'FASTDDS_DEFAULT_PROFILES_FILE; docs/node.md)')


@dataclass(frozen=True)
class Publisher:
    """A publisher of images on a topic."""

    node: str  # full name
    kind: str  # full name of the message type
    reliability: str  # the name in DDS


@dataclass(frozen=True)
class ImageTopic:
    """A topic with images, and the arrivals during the listening time."""

    name: str
    publishers: tuple[Publisher, ...]
    received: int = 0
    rate_hz: float = 0.0  # 0 below two images
    lost: int = 0  # by sequence numbers; only with a single publisher
    size_wh: tuple[int, int] | None = None
    encoding: str = ''
    message_bytes: int = 0
    age_s: float | None = None  # of the newest image when it arrived; None without a stamp

    @property
    def kinds(self) -> tuple[str, ...]:
        """The published types, in alphabetical order."""
        return tuple(sorted({publisher.kind for publisher in self.publishers}))

    def describe(self) -> str:
        """Return 'sensor_msgs/msg/Image 640x480 bgr8, 29.9 Hz, BEST_EFFORT, from /driver'."""
        parts = [' and '.join(self.kinds)]
        if self.size_wh:
            parts[0] += ' {}x{}'.format(*self.size_wh)
        if self.encoding:
            parts[0] += f' {self.encoding}'
        parts.append(f'{self.rate_hz:.1f} Hz' if self.rate_hz else f'{self.received} images seen')
        parts.append(' and '.join(sorted({p.reliability for p in self.publishers})))
        return f'{", ".join(parts)}, from {names(self.publishers)}'


@dataclass(frozen=True)
class WantedCamera:
    """A camera that a detector node is configured for."""

    name: str
    topic: str  # full name
    transport: str  # raw or compressed
    reliability: str  # best_effort or reliable
    source: str  # parameter file or node, for messages

    @property
    def kind(self) -> str:
        """The message type that the node subscribes to."""
        return IMAGE_TYPES[self.transport]


def topic_findings(topics: Sequence[ImageTopic], listened_s: float) -> Iterator[Finding]:
    """Yield a finding for each topic, or one without topics."""
    if not topics:
        yield Finding('cameras', SKIPPED, f'no images were published within {listened_s:g} s',
                      'start a camera driver, or `play_images FOLDER`; same ROS_DOMAIN_ID?')
    for topic in topics:
        yield _topic_finding(topic, listened_s)


def camera_findings(wanted: WantedCamera, topics: Sequence[ImageTopic], listened_s: float
                    ) -> Iterator[Finding]:
    """
    Compare a node's camera with the topics that exist.

    The first mismatch that keeps images away ends the list.
    """
    subject = f'camera {wanted.name} ({wanted.source})'
    topic = next((topic for topic in topics if topic.name == wanted.topic), None)
    if topic is None:
        yield Finding(subject, ERROR, f'{wanted.topic} has no publisher'
                      + _other_topics(wanted, topics),
                      _where_else(wanted, topics))
        return
    fitting = [publisher for publisher in topic.publishers if publisher.kind == wanted.kind]
    if not fitting:
        other = next((name for name, kind in IMAGE_TYPES.items() if kind == topic.kinds[0]), '')
        yield Finding(
            subject, ERROR, f'{names(topic.publishers)} publishes {topic.kinds[0]} on '
            f'{topic.name}, {wanted.name}.transport is {wanted.transport!r} and expects '
            f'{wanted.kind}', f'set {wanted.name}.transport to {other}')
        return
    if wanted.reliability == 'reliable':
        refused = [p for p in fitting if p.reliability == BEST_EFFORT]
        if refused:
            yield Finding(
                subject, ERROR, f'{names(refused)} offers {BEST_EFFORT} images on {topic.name}, '
                f'{wanted.name}.qos_reliability asks for {RELIABLE}, so none of them arrives',
                f'set {wanted.name}.qos_reliability to best_effort')
            return
    if len(topic.publishers) > 1:
        yield Finding(subject, WARNING, f'{len(topic.publishers)} publishers send on '
                      f'{topic.name}: {names(topic.publishers)}; their images would mix',
                      'end all but one, or give each a topic of its own')
    if not topic.received:
        yield Finding(subject, ERROR, f'{names(fitting)} is there on {topic.name}, but nothing '
                      f'arrived within {listened_s:g} s', f'is it running? Else: {_LARGE_IMAGES}')
        return
    yield Finding(subject, OK, f'{topic.name} fits: {wanted.transport}, {wanted.reliability}')


def _where_else(wanted: WantedCamera, topics: Sequence[ImageTopic]) -> str:
    """Describe the same camera in the other form, which image_transport names so."""
    other, name = (('compressed', f'{wanted.topic}/compressed') if wanted.transport == 'raw'
                   else ('raw', wanted.topic.removesuffix('/compressed')))
    if any(topic.name == name and IMAGE_TYPES[other] in topic.kinds for topic in topics):
        return f'set {wanted.name}.transport to {other} and {wanted.name}.image_topic to {name}'
    return f'start the camera, or set {wanted.name}.image_topic'


def names(publishers: Sequence[Publisher]) -> str:
    """Join the full names of the publishers' nodes."""
    return ', '.join(publisher.node for publisher in publishers)


def _topic_finding(topic: ImageTopic, listened_s: float) -> Finding:
    text = topic.describe()
    total = topic.received + topic.lost
    if topic.lost > MUCH_LOST * total:
        return Finding(topic.name, WARNING,
                       f'{text}; {topic.lost} of {total} images were lost on the way',
                       _LARGE_IMAGES)
    if not topic.received:
        return Finding(topic.name, WARNING, f'{text}; nothing arrived within {listened_s:g} s',
                       f'is the camera running? Else: {_LARGE_IMAGES}')
    if topic.age_s is not None and abs(topic.age_s) > CLOCK_OFF_S:
        when = 'old' if topic.age_s > 0 else 'ahead of this clock'
        return Finding(topic.name, WARNING, f'{text}; stamps are {abs(topic.age_s):.1f} s {when}',
                       'synchronise the clocks (chrony), or play the bag with --clock and set '
                       'use_sim_time; max_age_ms would drop such images')
    return Finding(topic.name, OK, text)


def _other_topics(wanted: WantedCamera, topics: Sequence[ImageTopic]) -> str:
    others = [topic.name for topic in topics if wanted.kind in topic.kinds]
    if not others:
        return f', nor has {wanted.kind} on any other topic'
    return f'; {wanted.kind} is published on {", ".join(others[:MOST_TOPICS])}'
