"""Why no images arrive: the publishers of the graph compared with what a camera expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import difflib
from typing import Any, NamedTuple

from mbv2ssd_ros.ros.shared_memory import other_users, room_bytes

IMAGE_TYPES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
DEBUG_TOPICS = ('/debug_image', '/debug_image/compressed')  # of a detector
BEST_EFFORT, RELIABLE, LATCHED = 'BEST_EFFORT', 'RELIABLE', 'TRANSIENT_LOCAL'  # as in DDS
ONE_USER = ('run all nodes as one user with one /dev/shm (docker: --ipc=host, --user), or all '
            'with FASTDDS_BUILTIN_TRANSPORTS=UDPv4')
_MOST_TOPICS = 5
_LARGE_IMAGES_BYTES = 2 ** 26 + 2 ** 20  # segment of config/fastdds_large_images.xml, and ports
_NAMELESS, _UNKNOWN_NODE = 'a node without a name', '_NODE_NAME_UNKNOWN_'  # of rmw_dds_common


@dataclass(frozen=True)
class Publisher:
    """A publisher of images on a topic."""

    node: str  # full name
    kind: str  # full name of the message type
    reliability: str  # the name in DDS
    durability: str = ''

    @classmethod
    def of(cls, info: Any) -> Publisher:
        """Read rclpy's description; a newly discovered node, or another user's, has no name."""
        name = (_NAMELESS if info.node_name == _UNKNOWN_NODE
                else f'{info.node_namespace.rstrip("/")}/{info.node_name}')
        return cls(name, info.topic_type, info.qos_profile.reliability.name,
                   info.qos_profile.durability.name)


@dataclass(frozen=True)
class WantedCamera:
    """A camera that a detector node is configured for."""

    name: str
    topic: str  # full name, after remapping
    transport: str  # raw or compressed
    reliability: str  # best_effort or reliable

    @property
    def kind(self) -> str:
        """The message type that the node subscribes to."""
        return IMAGE_TYPES[self.transport]


class Reason(NamedTuple):
    """What was found, and what to do."""

    found: str
    remedy: str

    def __str__(self) -> str:
        return f'{self.found}; {self.remedy}'


Topics = Mapping[str, Sequence[Publisher]]  # those with a publisher of images


def image_topics(node: Any) -> dict[str, list[Publisher]]:
    """Look up the image topics that have publishers, without the debug images of detectors."""
    found = {}
    for topic, kinds in node.get_topic_names_and_types():
        if set(kinds) & {*IMAGE_TYPES.values()} and not topic.endswith(DEBUG_TOPICS):
            publishers = list(map(Publisher.of, node.get_publishers_info_by_topic(topic)))
            if publishers:
                found[topic] = publishers
    return found


def mismatch(wanted: WantedCamera, topics: Topics) -> Reason | None:
    """Return why the graph has no images for a camera; None where a publisher fits."""
    name, publishers = wanted.name, topics.get(wanted.topic, ())
    if not publishers:
        twin = _twin(wanted)
        if any(publisher.kind == twin.kind for publisher in topics.get(twin.topic, ())):
            return Reason(
                f'no publisher on {wanted.topic}; the same camera publishes {twin.kind} on '
                f'{twin.topic}',
                f'set {name}.transport to {twin.transport} and {name}.image_topic to {twin.topic}')
        return Reason(f'no publisher on {wanted.topic}{_other_topics(wanted, topics)}',
                      f'start the camera, or set {name}.image_topic')
    fitting = [publisher for publisher in publishers if publisher.kind == wanted.kind]
    if not fitting:
        return _wrong_type(wanted, publishers)
    return incompatible_qos(wanted, publishers)


def _wrong_type(wanted: WantedCamera, publishers: Sequence[Publisher]) -> Reason:
    return Reason(
        f'{names(publishers)} publishes {publishers[0].kind} on {wanted.topic}, '
        f'{wanted.name}.transport is {wanted.transport!r} and expects {wanted.kind}',
        f'set {wanted.name}.transport to {_twin(wanted).transport}')


def incompatible_qos(wanted: WantedCamera, publishers: Iterable[Publisher]) -> Reason | None:
    """Describe publishers whose reliability is too low; None where all fit."""
    # best effort is compatible with all; so are the other policies
    refused = [publisher for publisher in publishers if wanted.reliability == 'reliable'
               and publisher.reliability == BEST_EFFORT]
    if not refused:
        return None
    return Reason(f'{names(refused)} offers BEST_EFFORT images on {wanted.topic}, {wanted.name}.'
                  'qos_reliability asks for RELIABLE, so none arrives',
                  f'set {wanted.name}.qos_reliability to best_effort')


def nothing_arrives(wanted: WantedCamera, publishers: Sequence[Publisher]) -> Reason:
    """Return the likely reason why a publisher that fits is there but nothing comes."""
    # for 20 s a killed camera is still listed with one that came back with another type
    if other := [publisher for publisher in publishers if publisher.kind != wanted.kind]:
        return _wrong_type(wanted, other)
    found = f'{names(publishers)} is there on {wanted.topic} but sends nothing that arrives'
    if any(publisher.node == _NAMELESS for publisher in publishers) or other_users():
        others = ', '.join(other_users()) or 'another user, or in another container'
        return Reason(f'{found}. It may run as {others}, whose shared memory is out of reach',
                      ONE_USER)
    if all(publisher.durability == LATCHED for publisher in publishers):
        return Reason(f'{found}: a latched image, perhaps sent before this subscription',
                      'publish it again, or repeatedly')
    return Reason(found, f'is the camera running? Large best-effort images: {large_images()}')


def mixed_publishers(wanted: WantedCamera, publishers: Iterable[Publisher]) -> Reason | None:
    """Describe several nodes that publish on the topic of a camera; None for one."""
    nodes = {publisher.node: publisher for publisher in publishers}
    if len(nodes) < 2:  # a restarted one may be there twice for a while
        return None
    return Reason(f'{len(nodes)} nodes publish on {wanted.topic}: {names(nodes.values())}; their '
                  'images mix', 'end all but one, or give each a topic of its own')


def large_images() -> str:
    """Say what large images need to pass through shared memory here."""
    total = room_bytes()
    if total is not None and total < _LARGE_IMAGES_BYTES:
        return (f'/dev/shm has {total / 1e6:.0f} MB, too little for them; start the container '
                'with --shm-size=1g or --ipc=host')
    return ('start the camera driver with FASTRTPS_DEFAULT_PROFILES_FILE=<share>/config/'
            'fastdds_large_images.xml (from Kilted on FASTDDS_DEFAULT_PROFILES_FILE; '
            'docs/node.md)')


def why_no_images(node: Any, wanted: WantedCamera) -> str:
    """Return the reason: what is on the topic, what was expected, what to set."""
    topics = image_topics(node)
    return str(mismatch(wanted, topics) or nothing_arrives(wanted, topics[wanted.topic]))


def names(publishers: Iterable[Publisher]) -> str:
    """Name each node once."""
    return ', '.join(dict.fromkeys(publisher.node for publisher in publishers))


def _twin(wanted: WantedCamera) -> WantedCamera:
    """Return the same camera in the other form, which image_transport names so."""
    if wanted.transport == 'raw':
        return WantedCamera(wanted.name, f'{wanted.topic}/compressed', 'compressed', '')
    return WantedCamera(wanted.name, wanted.topic.removesuffix('/compressed'), 'raw', '')


def _other_topics(wanted: WantedCamera, topics: Topics) -> str:
    others = [topic for topic, publishers in topics.items()
              if any(publisher.kind == wanted.kind for publisher in publishers)]
    if not others:
        return f', nor {wanted.kind} on any other topic'
    alike = difflib.get_close_matches(wanted.topic, others, n=_MOST_TOPICS, cutoff=0.0)
    return f'; {wanted.kind} is published on {", ".join(alike)}'
