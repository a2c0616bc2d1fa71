"""The ROS graph: publishers of images, their arrival, and the cameras of detector nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
import time
from typing import Any

from mbv2ssd_ros.core.image_header import stored_size_wh
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.ros.missing_images import image_topics, IMAGE_TYPES, Publisher
from mbv2ssd_ros.tools.checkup.camera_state import ImageTopic

# Nodes discover each other within a second, or with the announcement every third second.
DISCOVERY_S, SETTLED_S = 4.0, 1.0
ANSWER_S = 1.0  # timeout of a request
ASK_AGAIN_S = 0.3  # interval of retries
_DEPTH = 10
_POLL_S = 0.1
SLOW_CAMERA_S = 10.0  # a topic whose images take longer counts as silent


@dataclass(frozen=True)
class DetectorState:
    """A running detector node."""

    name: str  # full name
    state: str  # of its lifecycle; empty: it did not answer
    parameters: dict[str, Any]  # empty: it did not answer
    reports: tuple[tuple[int, str, str], ...]  # level, name and message of its diagnostics
    subscriptions: dict[str, list[str]]  # message types by topic, after remapping

    @property
    def namespace(self) -> str:
        """Its namespace, with a slash at the end."""
        return self.name.rpartition('/')[0] + '/'


@dataclass(frozen=True)
class Network:
    """Everything seen on the network."""

    topics: tuple[ImageTopic, ...]
    detectors: tuple[DetectorState, ...]
    listened_s: float
    duplicates: tuple[str, ...] = ()  # full names that several of these nodes have


def look_around(node: Any, detector: str, listen_s: float) -> Network:
    """
    Listen to every image topic for some seconds, and query the detector nodes.

    `node` is served here only; `detector` is a name, or the full name of one node.
    """
    from rclpy.executors import SingleThreadedExecutor
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        reports = _Reports(node)
        _discover(node, executor)
        listeners: dict[str, _Listener] = {}
        started = time.monotonic()
        while (listened_s := time.monotonic() - started) < listen_s or (
                listened_s < SLOW_CAMERA_S
                and not all(listener.has_image for listener in listeners.values())):
            _listen_to_all(node, listeners)  # some are discovered late
            executor.spin_once(timeout_sec=_POLL_S)
        detectors = [ask_detector(node, executor, name)
                     for name in detectors_named(node, detector)]
        return Network(
            tuple(listeners[topic].facts() for topic in sorted(listeners)),
            tuple(replace(found, reports=reports.of(found.name)) for found in detectors),
            round(listened_s, 1), duplicated(node, detector))
    finally:
        executor.shutdown()


def detectors_named(node: Any, wanted: str) -> list[str]:
    """Return the full names of nodes whose full name or last part is `wanted`."""
    return sorted(_count_named(node, wanted))


def duplicated(node: Any, wanted: str) -> tuple[str, ...]:
    """Return full names of several nodes; services and parameters reach any of them."""
    return tuple(sorted(name for name, count in _count_named(node, wanted).items() if count > 1))


def _count_named(node: Any, wanted: str) -> Counter[str]:
    found = Counter(f'{namespace.rstrip("/")}/{name}'
                    for name, namespace in node.get_node_names_and_namespaces())
    return Counter({name: count for name, count in found.items()
                    if wanted in (name, name.rpartition('/')[2])})


def _discover(node: Any, executor: Any) -> None:
    """Wait until other nodes are seen and no new ones appear, or until the time is over."""
    started = changed = time.monotonic()
    seen: Any = None
    while (now := time.monotonic()) < started + DISCOVERY_S:
        executor.spin_once(timeout_sec=_POLL_S)
        nodes = sorted(node.get_node_names_and_namespaces())
        graph = nodes, sorted(node.get_topic_names_and_types())
        if graph != seen:
            seen, changed = graph, now
        elif len(nodes) > 1 and now > changed + SETTLED_S:
            return


def _listen_to_all(node: Any, listeners: dict[str, _Listener]) -> None:
    for topic, publishers in image_topics(node).items():
        if topic not in listeners:
            # one type only: DDS refuses a second one on a topic of this process
            listeners[topic] = _Listener(
                node, topic, max(publisher.kind for publisher in publishers))


class _Listener:
    """Counts the arrivals on a topic; only the first message is deserialised."""

    def __init__(self, node: Any, topic: str, kind: str) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.subscription import Subscription
        from sensor_msgs.msg import CompressedImage, Image
        self._node, self._topic, self._kind = node, topic, kind
        self._type = Image if kind == IMAGE_TYPES['raw'] else CompressedImage
        self._arrivals: list[float] = []
        self._numbers: list[int] = []
        self._facts = ImageTopic(topic, ())
        callback: Callable[..., None] = self._receive
        if not hasattr(Subscription, 'CallbackType'):  # Humble
            def callback(data: bytes) -> None:
                self._receive(data, {})
        # best effort matches every publisher
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(self._type, topic, callback, qos, raw=True)

    @property
    def has_image(self) -> bool:
        """Whether anything arrived."""
        return bool(self._arrivals)

    def facts(self) -> ImageTopic:
        """Summarise the arrivals."""
        publishers = tuple(
            map(Publisher.of, self._node.get_publishers_info_by_topic(self._topic)))
        count = len(self._arrivals)
        rate_hz = lost = 0.0
        if count > 1:
            rate_hz = (count - 1) / max(self._arrivals[-1] - self._arrivals[0], 1e-9)
        if len(publishers) == 1 and len(self._numbers) > 1:
            span = self._numbers[-1] - self._numbers[0] + 1
            lost = max(0, span - len(self._numbers))
            rate_hz *= span / len(self._numbers)  # lost images were sent, too
        return replace(self._facts, publishers=publishers, received=count, rate_hz=rate_hz,
                       lost=int(lost))

    def _receive(self, data: bytes, info: dict[str, Any]) -> None:
        self._arrivals.append(time.monotonic())
        if info.get('publication_sequence_number'):
            self._numbers.append(info['publication_sequence_number'])
        if self._facts.message_bytes == 0:
            self._describe(data)

    def _describe(self, data: bytes) -> None:
        from rclpy.serialization import deserialize_message
        message = deserialize_message(data, self._type)
        stamp_s = 1e-9 * stamp_ns(message.header)
        now_s = 1e-9 * self._node.get_clock().now().nanoseconds
        raw = self._kind == IMAGE_TYPES['raw']
        self._facts = replace(
            self._facts, message_bytes=len(data), age_s=now_s - stamp_s if stamp_s else None,
            size_wh=(message.width, message.height) if raw else stored_size_wh(
                bytes(message.data)),
            encoding=message.encoding if raw else message.format.partition(';')[0])


class _Reports:
    """The newest diagnostics of each node."""

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        self._newest: dict[str, dict[str, tuple[int, str]]] = {}
        node.create_subscription(DiagnosticArray, '/diagnostics', self._receive, _DEPTH)

    def of(self, name: str) -> tuple[tuple[int, str, str], ...]:
        """Return level, name and message of each status of a node."""
        return tuple((level, status, message) for status, (level, message)
                     in self._newest.get(name, {}).items())

    def _receive(self, array: Any) -> None:
        for status in array.status:
            self._newest.setdefault(status.hardware_id, {})[status.name] = (
                status.level[0], status.message)


def ask_detector(node: Any, executor: Any, name: str) -> DetectorState:
    """Query a detector node for its state and parameters; the result is without reports."""
    from lifecycle_msgs.srv import GetState
    from rcl_interfaces.srv import GetParameters, ListParameters
    from rclpy.parameter import parameter_value_to_python
    state = _call(node, executor, GetState, f'{name}/get_state', GetState.Request())
    listed = _call(node, executor, ListParameters, f'{name}/list_parameters',
                   ListParameters.Request())
    values = {}
    if listed is not None:
        wanted = list(listed.result.names)
        got = _call(node, executor, GetParameters, f'{name}/get_parameters',
                    GetParameters.Request(names=wanted))
        if got is not None:
            values = {key: parameter_value_to_python(value)
                      for key, value in zip(wanted, got.values, strict=True)}
    namespace, _, last = name.rpartition('/')
    return DetectorState(
        name, '' if state is None else state.current_state.label, values, (),
        dict(node.get_subscriber_names_and_types_by_node(last, namespace or '/')))


def _call(node: Any, executor: Any, kind: Any, name: str, request: Any) -> Any | None:
    """Send a request until it is answered: one sent before the server's discovery is lost."""
    client = node.create_client(kind, name)
    try:
        futures: list[Any] = []
        deadline = time.monotonic() + ANSWER_S
        again = 0.0
        while time.monotonic() < deadline:
            if client.service_is_ready() and time.monotonic() >= again:
                futures.append(client.call_async(request))
                again = time.monotonic() + ASK_AGAIN_S
            executor.spin_once(timeout_sec=0.05)
            for future in futures:
                if future.done():
                    return future.result()
        return None
    finally:
        node.destroy_client(client)

