"""What exists from configure to cleanup: the model, the cameras, and their connections."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
import time
import traceback
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo

from mbv2ssd_ros.backends.base import Backend, LoadContext
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.core.detections import DetectionSelector
from mbv2ssd_ros.core.jpeg_decoder import notices_damage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.frames import Frame, RATE_LIMITED
from mbv2ssd_ros.latency import Recorder
from mbv2ssd_ros.ros.camera import Camera
from mbv2ssd_ros.ros.camera_monitor import CameraMonitor, CameraReport, NO_EFFECT
from mbv2ssd_ros.ros.debug_image import DebugImages
from mbv2ssd_ros.ros.events import NO_EVENTS, on_matched
from mbv2ssd_ros.ros.frame_processor import FrameProcessor
from mbv2ssd_ros.ros.label_info import class_ids, label_info
from mbv2ssd_ros.ros.missing_images import (
    image_topics,
    incompatible_qos,
    mixed_publishers,
    why_no_images,
)
from mbv2ssd_ros.ros.parameters import DetectorParams, LiveParams
from mbv2ssd_ros.ros.throttle import ThrottledLog
from mbv2ssd_ros.ros.topics import check_topics
from mbv2ssd_ros.scheduler import make_scheduler, Scheduler
from mbv2ssd_ros.shipped import find_model

_LAZY_PERIOD_S = 0.1  # how often a lazy camera looks for subscribers in Humble


class Pipeline:
    """
    The working parts of a configured node; runs between `start` and `stop`.

    A failed constructor (Mbv2SsdError) undoes what it did. `recorder` gets the latency of each
    published frame.
    """

    def __init__(self, node: LifecycleNode, params: DetectorParams,
                 recorder: Recorder | None = None) -> None:
        self._node = node
        self._recorder = recorder
        self._params = params
        self.live = params.live
        self._warn = ThrottledLog(node.get_logger().warning)
        self._log_error = ThrottledLog(node.get_logger().error)
        self._running: ExitStack | None = None
        self._enabled = True
        self._monitors: list[CameraMonitor] = []
        self._silent: dict[str, bool] = {}
        self._last_time_ns = 0  # of the node's clock at the last report
        with ExitStack() as undo:
            self._labels = node.create_publisher(
                LabelInfo, '~/label_info',
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
                event_callbacks=NO_EVENTS)
            undo.callback(node.destroy_publisher, self._labels)
            check_topics(node, params.cameras)
            self.model_path = find_model(params.model_path)
            # building an engine takes minutes and must end with the process
            loading = LoadContext(node.get_logger(), lambda: not node.context.ok())
            self.backend = open_backend(params.backend, self.model_path, params.options, loading)
            undo.callback(self.backend.close)
            self.check(params.live)
            self._cameras = []
            self._matched = on_matched(self.follow) if params.lazy else None
            for index, camera_params in enumerate(params.cameras):
                self._cameras.append(Camera(node, index, camera_params, self._matched))
                undo.callback(self._cameras[-1].destroy)
            switch = node.create_service(SetBool, '~/set_enabled', self._set_enabled)
            undo.callback(node.destroy_service, switch)
            self._publish_labels()
            if not notices_damage() and any(
                    camera.transport == 'compressed' for camera in params.cameras):
                node.get_logger().warning(
                    'simplejpeg is not installed: damaged JPEG images can pass as whole ones. '
                    'pip install simplejpeg')
            self._undo = undo.pop_all()

    def check(self, live: LiveParams) -> None:
        """Raise ConfigError where live parameters name a class that the model does not know."""
        DetectionSelector(self.backend.contract, live.detection)

    def apply(self, live: LiveParams) -> None:
        """Use checked live parameters from the next frame on."""
        threshold = self.live.detection.score_threshold
        self.live = live  # one assignment: a frame sees all old values or all new ones
        if live.detection.score_threshold != threshold:
            self._publish_labels()

    def start(self) -> None:
        """Subscribe and process."""
        assert self._running is None
        with ExitStack() as undo:
            debug_images = DebugImages(self.backend.contract.class_names, self._report_error)
            undo.callback(debug_images.stop)
            scheduler: Scheduler[Any] = make_scheduler(
                len(self._cameras), self._processors(debug_images), self.backend.max_batch,
                1e-3 * self._params.max_batch_wait_ms, self._report_error)
            undo.callback(self._stop_scheduler, scheduler)
            now = time.monotonic()
            for camera in self._cameras:
                undo.callback(camera.close)  # also of those opened before one that fails
                camera.open(self._router(scheduler), self._on_incompatible_qos)
            self._follow()
            if self._params.lazy and self._matched is None:
                timer = self._node.create_timer(_LAZY_PERIOD_S, self.follow)
                undo.callback(self._node.destroy_timer, timer)
            self._monitors = [
                CameraMonitor(camera, now, partial(why_no_images, self._node, camera.wanted),
                              partial(self._mixed, camera))
                for camera in self._cameras]
            self._silent = {}
            self._running = undo.pop_all()

    def follow(self) -> None:
        """Subscribe to the images that are wanted, and to no others, while running."""
        if self._running is not None:
            self._follow()

    def _follow(self) -> None:
        for camera in self._cameras:
            camera.follow(
                'not subscribed: switched off by ~/set_enabled' if not self._enabled else
                'not subscribed: nobody subscribes to its outputs (lazy)'
                if self._params.lazy and not camera.is_wanted() else '')

    def _set_enabled(self, request: Any, response: Any) -> Any:
        self._enabled, response.success = request.data, True
        response.message = 'images are processed' if request.data else 'images are not received'
        if self._running is None:
            response.message += ' once the node is active'
        self.follow()
        return response

    def stop(self) -> None:
        """Unsubscribe, finish the frames in progress, drop those waiting."""
        if self._running is not None:
            running, self._running = self._running, None
            self._monitors = []
            running.close()

    def close(self) -> None:
        """Stop, destroy the publishers and free the model."""
        self.stop()
        self._undo.close()

    def report(self) -> tuple[CameraReport, ...]:
        """
        Close a period; log when images of a camera stop, are not answered, or arrive again.

        Returns a report on each camera; none while the pipeline is not running.
        """
        now, stopped = time.monotonic(), self._clock_stopped()
        reports = tuple(monitor.report(now, self.live.silence_timeout_s, stopped)
                        for monitor in self._monitors)
        for report in reports:
            if report.reason.startswith(NO_EFFECT):
                self._warn(('age', report.name), f'{report.name}: {report.reason}')
            if report.stuck:
                self._warn(('stuck', report.name), f'{report.name}: {report.reason}')
            if report.silent != self._silent.get(report.name, False):
                self._silent[report.name] = report.silent
                if report.silent:
                    self._node.get_logger().warning(f'{report.name}: {report.reason}')
                else:
                    self._node.get_logger().info(f'{report.name}: images arrive again')
        return reports

    def _clock_stopped(self) -> str:
        """Return why images have no age: simulated time has stood still since the last call."""
        clock, last = self._node.get_clock(), self._last_time_ns
        self._last_time_ns = clock.now().nanoseconds
        if self.live.max_age_ms and clock.ros_time_is_active and self._last_time_ns in (0, last):
            return (f'simulated time (use_sim_time) stands still at {1e-9 * last:.3f} s; is '
                    '/clock published?')
        return ''

    def _processors(self, debug_images: DebugImages) -> list[FrameProcessor]:
        count = min(len(self._cameras), self.backend.max_concurrency)
        ids = class_ids(self.backend.contract, self._params.class_id)
        return [
            FrameProcessor(Detector(self.backend, self.live.tracked), self._cameras,
                           lambda: self.live, debug_images, self._node.get_clock(), self._warn,
                           ids, self._recorder)
            for _ in range(count)]

    def _router(self, scheduler: Scheduler[Any]) -> Callable[[Camera, Frame[Any]], None]:
        def on_frame(camera: Camera, frame: Frame[Any]) -> None:
            if camera.admits(frame, self.live.max_rates_hz[camera.index]):
                scheduler.submit(frame)
            else:
                frame.drop(RATE_LIMITED)
        return on_frame

    def _stop_scheduler(self, scheduler: Scheduler[Any]) -> None:
        if not scheduler.stop():
            self._node.get_logger().error(
                'an inference did not end in time; its thread is abandoned')

    def _on_incompatible_qos(self, camera: Camera) -> None:
        publishers = image_topics(self._node).get(camera.image_topic, ())
        if reason := incompatible_qos(camera.wanted, publishers):  # else already gone
            self._warn(('qos', camera.index), str(reason))

    def _mixed(self, camera: Camera) -> str:
        if self._node.count_publishers(camera.image_topic) < 2:
            return ''
        publishers = image_topics(self._node).get(camera.image_topic, ())
        return str(mixed_publishers(camera.wanted, publishers) or '')

    def _report_error(self, error: Exception) -> None:
        if self._node.context.ok():  # at the end of the process nothing can be published
            self._log_error(type(error).__name__, 'frame dropped, unexpected error:\n' + ''.join(
                traceback.format_exception(type(error), error, error.__traceback__)))

    def _publish_labels(self) -> None:
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._labels.publish(label_info(
            self.backend.contract, self.live.detection.score_threshold, header))


def describe(backend: Backend, model_path: Path) -> str:
    """Return one log line about model and backend."""
    contract = backend.contract
    height, width = contract.input_size_hw
    return (f'{model_path}: {len(contract.object_names)} classes, {width}x{height}, '
            f'{contract.precision}, on {backend.name} ({backend.detail})')
