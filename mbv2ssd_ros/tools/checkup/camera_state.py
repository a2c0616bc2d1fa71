"""Cameras on the network, and whether they match the subscriptions of a detector node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mbv2ssd_ros.ros.missing_images import (
    large_images,
    mismatch,
    mixed_publishers,
    names,
    nothing_arrives,
    Publisher,
    WantedCamera,
)
from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING

MUCH_LOST = 0.1  # of the images
CLOCK_OFF_S = 1.0


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


def topic_findings(topics: Sequence[ImageTopic], listened_s: float) -> Iterator[Finding]:
    """Yield a finding for each topic, or one without topics."""
    if not topics:
        yield Finding('cameras', SKIPPED, f'no images were published within {listened_s:g} s',
                      'start a camera driver, or `play_images FOLDER`; same ROS_DOMAIN_ID?')
    for topic in topics:
        yield _topic_finding(topic, listened_s)


def subscribed(cameras: Sequence[WantedCamera], subscriptions: Mapping[str, Sequence[str]]
               ) -> tuple[list[WantedCamera], list[str]]:
    """
    Give the cameras of a running node the topics that it really subscribes to.

    `subscriptions` has the message types by topic. Returns the cameras whose topic is certain, and
    the names of the others: several are remapped, and which one to what cannot be told.
    """
    known = [camera for camera in cameras if camera.topic in subscriptions]
    certain, unknown = list(known), []
    for camera in (camera for camera in cameras if camera not in known):
        free = [topic for topic, kinds in subscriptions.items() if camera.kind in kinds
                and all(topic != other.topic for other in known)]
        alike = [other for other in cameras if other not in known and other.kind == camera.kind]
        if len(free) == len(alike) == 1:
            certain.append(replace(camera, topic=free[0]))
        else:
            unknown.append(camera.name)
    return certain, unknown


def camera_findings(wanted: WantedCamera, source: str, topics: Sequence[ImageTopic]
                    ) -> Iterator[Finding]:
    """
    Compare a camera, of a node or a parameter file, with the topics that exist.

    The first mismatch that keeps images away ends the list.
    """
    subject = f'camera {wanted.name} ({source})'
    published = {topic.name: topic.publishers for topic in topics}
    if reason := mismatch(wanted, published):
        yield Finding(subject, ERROR, *reason)
        return
    topic = next(topic for topic in topics if topic.name == wanted.topic)
    if reason := mixed_publishers(wanted, topic.publishers):
        yield Finding(subject, WARNING, *reason)
    if not topic.received:
        yield Finding(subject, ERROR, *nothing_arrives(wanted, topic.publishers))
        return
    yield Finding(subject, OK, f'{topic.name} fits: {wanted.transport}, {wanted.reliability}')


def _topic_finding(topic: ImageTopic, listened_s: float) -> Finding:
    text = topic.describe()
    total = topic.received + topic.lost
    if topic.lost > MUCH_LOST * total:
        return Finding(topic.name, WARNING,
                       f'{text}; {topic.lost} of {total} images were lost on the way',
                       large_images())
    if not topic.received:
        return Finding(topic.name, WARNING, f'{text}; nothing arrived within {listened_s:g} s',
                       nothing_arrives(WantedCamera('', topic.name, 'raw', ''),
                                       topic.publishers).remedy)
    if topic.age_s is not None and abs(topic.age_s) > CLOCK_OFF_S:
        when = 'old' if topic.age_s > 0 else 'ahead of this clock'
        return Finding(topic.name, WARNING, f'{text}; stamps are {abs(topic.age_s):.1f} s {when}',
                       'synchronise the clocks (chrony), or play the bag with --clock and set '
                       'use_sim_time; max_age_ms would drop such images')
    return Finding(topic.name, OK, text)
