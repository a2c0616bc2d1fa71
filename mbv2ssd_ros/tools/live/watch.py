"""An observer of a detector node: its state, its detections and its counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
import time
from typing import Any

from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.tools.benchmarking.figures import percentiles
from mbv2ssd_ros.tools.cli.processes import ProcessError
from mbv2ssd_ros.tools.live.account import CameraOutcome, NodeCounts
from mbv2ssd_ros.tools.live.cameras import BagCamera

SILENT_S = 6.0  # longest gap between reports (one per second) of a living node
SETTLE_S = 10.0  # for the last images
STEADY_REPORTS = 2  # without a change: the node reports once a second
_POLL_S = 0.1
_DEPTH = 1000  # of the subscriptions: none may be lost here


@dataclass
class WatchedCamera:
    """A camera of the node, and its arrivals."""

    name: str
    image_topic: str
    detections_topic: str  # full name
    latencies_ms: list[float] = field(default_factory=list)  # of each arrival
    counts: NodeCounts | None = None


class Watch:
    """Subscribes to the detections and the diagnostics of a node."""

    def __init__(self, own: Any, node: str, cameras: Sequence[BagCamera], stamped_now: bool
                 ) -> None:
        """
        Subscribe to the diagnostics; the detections follow once the node has reported its topics.

        `own` is a node of this process, served here only; with `stamped_now` images carry the time
        at which they are published.
        """
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        self._own, self._wanted = own, {camera.image_topic for camera in cameras}
        self._stamped_now = stamped_now
        self._name = node
        self._full_name = ''
        self._last_report = 0.0
        self.cameras: list[WatchedCamera] = []
        self._executor = SingleThreadedExecutor(context=own.context)
        self._executor.add_node(own)
        own.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def until_active(self, timeout_s: float, check: Callable[[], None] = lambda: None,
                     log: Callable[[], str] = lambda: 'see its log and /diagnostics') -> None:
        """
        Wait until the node is active, has reported its cameras, and has discovered us.

        `check` raises when it cannot become active any more; `log` is quoted in the error. Raises
        ProcessError after the timeout, or when a topic of the bag has no camera.
        """
        from mbv2ssd_ros.tools.checkup.network import ask_detector, detectors_named
        deadline = time.monotonic() + timeout_s
        state = 'is not there'
        while not self.cameras:
            check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f'the node {self._name} {state} after {timeout_s:g} s; {log()}')
            self._executor.spin_once(timeout_sec=_POLL_S)
            for name in detectors_named(self._own, self._name):
                found = ask_detector(self._own, self._executor, name)
                state = f'is {found.state or "busy"}'
                if found.state == 'active' and found.parameters:
                    self._full_name = name
                    self._subscribe(found)
        self.until(lambda: all(camera.counts for camera in self.cameras), check)

    def until_played(self, timeout_s: float) -> None:
        """
        Wait for a player to come and to go; the timeout is for its coming.

        Raises ProcessError when it did not come, or the node went.
        """
        deadline = time.monotonic() + timeout_s

        def has_begun() -> bool:
            if time.monotonic() > deadline:
                raise ProcessError(
                    f'no images were published on {", ".join(sorted(self._wanted))} within '
                    f'{timeout_s:g} s; the log of the player says why')
            # a short bag may end before we discover its player
            return self._is_played() or any(
                camera.counts and camera.counts.received for camera in self.cameras)
        self.until(has_begun)
        self.until(lambda: not self._is_played())

    def until_settled(self) -> None:
        """Wait until STEADY_REPORTS agree with nothing in flight, or SETTLE_S after a change."""
        before: Any = None
        changed, steady, last_report = time.monotonic(), 0, self._last_report
        while steady < STEADY_REPORTS and time.monotonic() < changed + SETTLE_S:
            self._executor.spin_once(timeout_sec=_POLL_S)
            if self._last_report == last_report:
                continue
            last_report = self._last_report
            now = [(camera.counts, len(camera.latencies_ms)) for camera in self.cameras]
            if now != before:
                before, changed, steady = now, time.monotonic(), 0
            elif not any(counts.in_flight for counts, _ in now if counts):
                steady += 1

    def until(self, condition: Callable[[], bool], check: Callable[[], None] = lambda: None
              ) -> None:
        """
        Serve this process until a condition holds; `check` raises when it no longer can.

        Raises ProcessError when the node does not report any more.
        """
        self._last_report = max(self._last_report, time.monotonic())
        while not condition():
            check()
            if time.monotonic() > self._last_report + SILENT_S:
                raise ProcessError(f'{self._full_name} has not reported for {SILENT_S:g} s; has '
                                   'it ended?')
            self._executor.spin_once(timeout_sec=_POLL_S)

    def outcomes(self, sent: Mapping[str, int]) -> list[CameraOutcome]:
        """Return the outcome of each camera, given the number of sent images by topic."""
        return [
            CameraOutcome(camera.name, camera.image_topic, camera.detections_topic,
                          sent.get(camera.image_topic, 0), camera.counts,
                          len(camera.latencies_ms), percentiles(camera.latencies_ms)
                          if camera.latencies_ms and self._stamped_now else None)
            for camera in self.cameras if camera.counts is not None]

    def _subscribe(self, found: Any) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from vision_msgs.msg import Detection2DArray

        from mbv2ssd_ros.tools.checkup.parameter_file import full_topic
        for name in found.parameters.get('cameras', []):
            camera = WatchedCamera(
                name, full_topic(found.parameters[f'{name}.image_topic'], found.namespace),
                full_topic(found.parameters[f'{name}.detections_topic'], found.namespace))
            if camera.image_topic in self._wanted:
                self.cameras.append(camera)
        missing = self._wanted - {camera.image_topic for camera in self.cameras}
        if missing:
            raise ProcessError(f'{found.name} has no camera for {", ".join(sorted(missing))} of '
                               'the bag; set <camera>.image_topic, or choose topics')
        for camera in self.cameras:
            self._own.create_subscription(
                Detection2DArray, camera.detections_topic, partial(self._receive, camera),
                QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE))

    def _receive(self, camera: WatchedCamera, message: Any) -> None:
        camera.latencies_ms.append(1e-6 * (time.time_ns() - stamp_ns(message.header)))

    def _is_played(self) -> bool:
        return any(self._own.count_publishers(topic) for topic in self._wanted)

    def _on_diagnostics(self, array: Any) -> None:
        for status in array.status:
            if status.hardware_id != self._full_name or not self._full_name:
                continue
            self._last_report = time.monotonic()
            for camera in self.cameras:
                if status.name == f'{self._full_name}: camera {camera.name}':
                    camera.counts = NodeCounts.from_values(
                        {entry.key: entry.value for entry in status.values})
