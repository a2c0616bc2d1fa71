"""One camera in ROS: subscription, publishers and counters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from mbv2ssd_ros.core.compressed_message import image_from_compressed_msg
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.image_message import image_from_msg
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.frames import Frame, FrameCounters, UNDECODABLE
from mbv2ssd_ros.latency import LatencyWindow, STAGES
from mbv2ssd_ros.rate_limit import RateLimit
from mbv2ssd_ros.ros.events import NO_EVENTS, PublisherEventCallbacks, SubscriptionEventCallbacks
from mbv2ssd_ros.ros.image_bytes import image_reader
from mbv2ssd_ros.ros.missing_images import WantedCamera
from mbv2ssd_ros.ros.parameters import CameraParams
from mbv2ssd_ros.ros.receiver import NoExecutor, Receiver, WaitSetUnavailable
from mbv2ssd_ros.ros.throttle import ThrottledLog
from mbv2ssd_ros.tracking.tracker import Tracker

_RELIABILITY = {
    'best_effort': ReliabilityPolicy.BEST_EFFORT, 'reliable': ReliabilityPolicy.RELIABLE}
_TRANSPORT: dict[str, tuple[type, Callable[[Any, int], SourceImage]]] = {
    'raw': (Image, image_from_msg), 'compressed': (CompressedImage, image_from_compressed_msg)}
_OUTPUT_DEPTH = 10
_DARK = 16  # of 255: what 12 of 16 bits give at most


class Camera:
    """
    One camera of a configured node.

    Publishers exist as long as it does, subscription and counters from `open` to `close`.
    """

    def __init__(self, node: LifecycleNode, index: int, params: CameraParams,
                 events: PublisherEventCallbacks | None = None) -> None:
        """Make the publishers; `events` are those of all of them, by default few."""
        self.index = index
        self.params = params
        self.message_type, self._convert = _TRANSPORT[params.transport]
        self._node = node
        detections, debug_image, debug_compressed = params.output_topics
        self.detections: Any = node.create_lifecycle_publisher(
            Detection2DArray, detections, _OUTPUT_DEPTH, event_callbacks=events)
        self.debug_image: Any = node.create_lifecycle_publisher(
            Image, debug_image, _OUTPUT_DEPTH, event_callbacks=events or NO_EVENTS)
        self.debug_compressed: Any = node.create_lifecycle_publisher(
            CompressedImage, debug_compressed, _OUTPUT_DEPTH,
            event_callbacks=events or NO_EVENTS)
        self.paused = ''  # why it is not subscribed
        self.tracker = Tracker()  # ids go on when the camera is opened again
        self._dark_reported = False
        self._subscription: Any = None
        self._receiver: Receiver | None = None
        self._subscribe: Callable[[], None] = lambda: None
        log = ThrottledLog(node.get_logger().error)
        self._log_error = lambda error: log(params.name, f'{params.name}: {error}')
        self._reset_counters()

    def _reset_counters(self) -> None:
        self.counters = FrameCounters()
        self.latency = LatencyWindow(STAGES)
        self.last_arrival: float | None = None  # monotonic seconds
        self.last_stamp: Any = None  # builtin_interfaces/Time of the newest image
        self.stamps_not_increasing = 0
        self.last_error = ''  # of the last image dropped for a fault
        self.ahead_ms = 0.0  # how far the last stamp in the future was; set only with max_age_ms
        self._limit = RateLimit(0.0)
        self._last_stamp_ns = 0
        self._last_number: int | None = None
        self._alone = True  # only one publisher at the last gap in its numbers

    @property
    def image_topic(self) -> str:
        """Full name of its image topic, after remapping."""
        return self._node.resolve_topic_name(self.params.image_topic)

    @property
    def wanted(self) -> WantedCamera:
        """What must be published for it."""
        return WantedCamera(self.params.name, self.image_topic, self.params.transport,
                            self.params.qos_reliability)

    def open(self, on_frame: Callable[[Camera, Frame[Any]], None],
             on_incompatible_qos: Callable[[Camera], None]) -> None:
        """
        Take images when subscribed, see `follow`, with fresh counters.

        on_incompatible_qos is called when a publisher with an incompatible quality of service
        appears.
        """
        self._reset_counters()
        self.tracker.clear()
        self._subscribe = partial(self._open, on_frame, on_incompatible_qos)

    def follow(self, paused: str) -> None:
        """Subscribe, or unsubscribe for a reason; counters go on."""
        self.paused = paused
        if paused and self._subscription is not None:
            self.close()
            self.last_arrival = None  # nothing is due
        elif not paused and self._subscription is None:
            self._subscribe()

    def is_wanted(self) -> bool:
        """Whether somebody subscribes to one of its outputs."""
        return any(publisher.get_subscription_count() for publisher in (
            self.detections, self.debug_image, self.debug_compressed))

    def _open(self, on_frame: Callable[[Camera, Frame[Any]], None],
              on_incompatible_qos: Callable[[Camera], None]) -> None:
        # Depth 1: a frame that arrives during processing replaces its predecessor in the
        # middleware. A depth of 5 costs 16 ms at the 99th percentile.
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1,
                         reliability=_RELIABILITY[self.params.qos_reliability])
        read = image_reader() if self.message_type is Image else partial(
            deserialize_message, message_type=self.message_type)

        def on_message(data: bytes, info: dict[str, Any]) -> None:
            number = info.get('publication_sequence_number')  # not in Humble
            try:
                message = read(data)
            except RuntimeError as err:
                self._refuse(number, f'not a sensor_msgs/{self.message_type.__name__}: {err}')
            else:
                on_frame(self, self.receive(message, number))
        subscribe = partial(
            self._node.create_subscription, self.message_type, self.params.image_topic, on_message,
            qos, raw=True, event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: on_incompatible_qos(self)))
        self._subscription = subscribe(callback_group=NoExecutor())
        try:
            self._receiver = Receiver(self._subscription, self._node.context, self._log_error)
        except WaitSetUnavailable as err:
            self._node.get_logger().warning(
                f"images are received by rclpy's executor, each 0.25 ms later: the wait set of "
                f'this rclpy is not the expected one ({err})', once=True)
            self._node.destroy_subscription(self._subscription)
            self._subscription = subscribe()

    def close(self) -> None:
        """Unsubscribe after the image in progress; the counters stay readable."""
        if self._receiver is not None and not self._receiver.stop():
            self._node.get_logger().error(
                f'{self.params.name}: the image in progress did not end in time; its thread is '
                'abandoned')
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._receiver, self._subscription = None, None

    def destroy(self) -> None:
        """Unsubscribe and destroy the publishers."""
        self.close()
        for publisher in (self.detections, self.debug_image, self.debug_compressed):
            self._node.destroy_lifecycle_publisher(publisher)

    def receive(self, message: Any, number: int | None = None) -> Frame[Any]:
        """
        Make the frame of a message; it is counted as soon as it waits or ends.

        number: the publisher's sequence number; None where the middleware does not provide it.
        """
        self._count_skipped(number)
        frame = self.counters.receive(self.index, message)
        image_ns = stamp_ns(message.header)
        if 0 < image_ns <= self._last_stamp_ns:
            self.stamps_not_increasing += 1
        self._last_stamp_ns = image_ns
        self.last_arrival, self.last_stamp = frame.arrived, message.header.stamp
        return frame

    def decode(self, message: Any) -> SourceImage:
        """Convert a message to an image; may raise UnsupportedImageError."""
        image = self._convert(message, self.params.significant_bits)
        kind = message.encoding if self.message_type is Image else message.format
        if not self._dark_reported and '16' in kind and image.pixels.max() < _DARK:
            self._dark_reported = True
            self._node.get_logger().warning(
                f'{self.params.name}: {kind} image without a pixel above 1/16 of white. If the '
                f'camera has 10 or 12 bits, set {self.params.name}.significant_bits')
        return image

    def admits(self, frame: Frame[Any], max_rate_hz: float) -> bool:
        """Apply the rate limit, 0 for none; False when the frame comes too soon."""
        if max_rate_hz != self._limit.max_rate_hz:
            self._limit = RateLimit(max_rate_hz)
        return self._limit.admits(frame.arrived)

    def _refuse(self, number: int | None, error: str) -> None:
        """Count a message that cannot be read as dropped."""
        self._count_skipped(number)
        frame = self.counters.receive(self.index, None)
        self.last_arrival, self.last_error = frame.arrived, error
        frame.drop(UNDECODABLE)
        self._log_error(f'frame dropped: {error}')

    def _count_skipped(self, number: int | None) -> None:
        """Count the frames lost in a gap of the sequence numbers."""
        last, self._last_number = self._last_number, number
        if number is None or last is None or number == last + 1:
            return
        # Numbers of several publishers mix, and the last one may be of a publisher that is gone.
        was_alone, self._alone = self._alone, self._subscription.get_publisher_count() == 1
        if number > last and was_alone and self._alone:  # else the publisher restarted
            self.counters.skip(number - last - 1)
