"""Process frames: message to image to detections to message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
import time
from typing import Any, NamedTuple

import numpy as np
from rclpy.clock import Clock

from mbv2ssd_ros.core.detections import Detections, DetectionSelector
from mbv2ssd_ros.core.errors import BackendError, UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.frames import BACKEND_ERROR, Frame, STALE, UNDECODABLE
from mbv2ssd_ros.latency import Recorder
from mbv2ssd_ros.ros.camera import Camera
from mbv2ssd_ros.ros.debug_image import DebugImages
from mbv2ssd_ros.ros.detection_bytes import message_maker
from mbv2ssd_ros.ros.parameters import LiveParams
from mbv2ssd_ros.ros.throttle import ThrottledLog

_AHEAD_MS = 50.0  # more than computers differ whose clocks are synchronised


class _Decoded(NamedTuple):
    """A frame that became an image, and when; monotonic seconds."""

    frame: Frame[Any]
    image: SourceImage
    started: float
    converted: float


class FrameProcessor:
    """
    Processes frames in one thread: exactly one message for each, or a counted drop.

    Owns what threads must not share: a detector with its batch buffer, and the message maker.
    Calls `live` for the parameters of each batch; image stamps are compared with `clock`.
    """

    def __init__(self, detector: Detector, cameras: Sequence[Camera],
                 live: Callable[[], LiveParams], debug_images: DebugImages, clock: Clock,
                 warn: ThrottledLog, class_ids: Sequence[str], recorder: Recorder | None = None
                 ) -> None:
        self._detector = detector
        self._cameras = cameras
        self._live = live
        self._debug_images = debug_images
        self._clock = clock
        self._warn = warn
        self._recorder = recorder
        self._published = DetectionSelector(detector.contract, live().detection)
        self._messages = message_maker(class_ids)

    def __call__(self, batch: Sequence[Frame[Any]]) -> None:
        """Process a batch of frames of different cameras."""
        live = self._live()
        if self._detector.settings is not live.tracked:
            self._detector.settings = live.tracked
            self._published = DetectionSelector(self._detector.contract, live.detection)
        decoded = [found for frame in batch if (found := self._decode(frame, live)) is not None]
        if not decoded:
            return
        try:
            results = self._detector.detect([one.image for one in decoded])
        except BackendError as err:
            for one in decoded:
                self._drop(one.frame, BACKEND_ERROR, str(err))
            return
        for one, detections in zip(decoded, results, strict=True):
            self._answer(one, detections, live)

    def _decode(self, frame: Frame[Any], live: LiveParams) -> _Decoded | None:
        started = time.monotonic()
        if self._is_stale(frame, live):
            return None
        try:
            image = self._cameras[frame.camera].decode(frame.payload)
        except UnsupportedImageError as err:
            self._drop(frame, UNDECODABLE, str(err))
            return None
        return _Decoded(frame, image, started, time.monotonic())

    def _answer(self, one: _Decoded, detections: Detections, live: LiveParams) -> None:
        frame, camera = one.frame, self._cameras[one.frame.camera]
        if self._is_stale(frame, live):
            return
        header = frame.payload.header
        if live.tracked is not live.detection:
            detections = self._track(frame, detections, live)
        answered = time.monotonic()
        # Also without subscribers: counting them first takes a tenth of the time of publishing.
        camera.detections.publish(self._messages.message(detections, header))
        published = time.monotonic()
        frame.publish()
        times = self._detector.last_times
        times_ms = (
            1e3 * (one.started - frame.arrived), 1e3 * (one.converted - one.started),
            times.preprocess_ms, times.infer_ms, times.postprocess_ms,
            1e3 * (published - answered), 1e3 * (published - frame.arrived),
            self._age_ms(frame))
        camera.latency.add(times_ms)
        if self._recorder is not None:
            self._recorder(stamp_ns(header), times_ms)
        if live.publish_debug_image:
            self._debug_images.offer(
                camera, one.image, detections, header, live.debug_image_rate_hz)

    def _track(self, frame: Frame[Any], found: Detections, live: LiveParams) -> Detections:
        """Keep what is published, with the ids of its tracks where the camera has them."""
        is_high, ids = self._published.admits(found), None
        if live.tracking[frame.camera]:
            tracker = self._cameras[frame.camera].tracker
            tracker.settings = live.tracks
            ids = tracker.update(
                found, is_high, stamp_ns(frame.payload.header) or round(1e9 * frame.arrived))
        kept = np.flatnonzero(is_high)[:live.detection.max_detections]
        return Detections(found.boxes_xyxy[kept], found.scores[kept], found.labels[kept],
                          None if ids is None else ids[kept])

    def _is_stale(self, frame: Frame[Any], live: LiveParams) -> bool:
        """Drop the frame when it is older than allowed."""
        if live.max_age_ms <= 0:
            return False
        age_ms = self._age_ms(frame)
        if not age_ms > live.max_age_ms:  # also when it has no age
            if age_ms < -_AHEAD_MS:
                self._cameras[frame.camera].ahead_ms = -age_ms
            return False
        self._drop(frame, STALE, f'image is {age_ms:.0f} ms old, max_age_ms is '
                                 f'{live.max_age_ms:g}; is its clock synchronised?')
        return True

    def _age_ms(self, frame: Frame[Any]) -> float:
        """Return now minus the stamp; NaN for an image without a stamp."""
        image_ns = stamp_ns(frame.payload.header)
        return 1e-6 * (self._clock.now().nanoseconds - image_ns) if image_ns else math.nan

    def _drop(self, frame: Frame[Any], reason: str, error: str) -> None:
        camera = self._cameras[frame.camera]
        camera.last_error = error
        frame.drop(reason)
        self._warn((camera.index, reason), f'{camera.params.name}: frame dropped: {error}')
