"""Images with boxes for people; they never delay the detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import threading
import time

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.drawing import bgr_pixels, draw_detections
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.rate_limit import RateLimit
from mbv2ssd_ros.ros.camera import Camera


@dataclass(frozen=True)
class _Job:
    camera: Camera
    image: SourceImage
    detections: Detections
    header: Header


class DebugImages:
    """Draws and publishes the newest image of each camera, in its own thread."""

    def __init__(self, class_names: Sequence[str], report: Callable[[Exception], None]) -> None:
        self._class_names = tuple(class_names)
        self._report = report
        self._changed = threading.Condition()
        self._jobs: dict[int, _Job] = {}
        self._limits: dict[int, RateLimit] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name='debug-image', daemon=True)
        self._thread.start()

    def offer(self, camera: Camera, image: SourceImage, detections: Detections, header: Header,
              max_rate_hz: float) -> None:
        """
        Queue a frame for drawing; nearly free without a subscriber.

        The image is not changed; it may be a view of a message, which it keeps alive. Detections
        are in pixels of the image. Frames above max_rate_hz of a camera are not drawn.
        """
        if not (camera.debug_image.get_subscription_count()
                or camera.debug_compressed.get_subscription_count()):
            return
        limit = self._limits.get(camera.index)
        if limit is None or limit.max_rate_hz != max_rate_hz:
            limit = self._limits[camera.index] = RateLimit(max_rate_hz)
        if limit.admits(time.monotonic()):
            with self._changed:
                self._jobs[camera.index] = _Job(camera, image, detections, header)
                self._changed.notify()

    def stop(self) -> None:
        """End the thread; queued frames are not drawn."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))  # the camera that waited longest
            try:
                self._publish(job)
            except Exception as err:  # a bug must cost its picture, not the thread
                self._report(err)

    def _publish(self, job: _Job) -> None:
        found = job.detections
        picture = draw_detections(
            bgr_pixels(job.image), found.boxes_xyxy, found.scores,
            [self._class_names[label] for label in found.labels], found.track_names())
        if job.camera.debug_image.get_subscription_count():
            job.camera.debug_image.publish(_image_msg(picture, job.header))
        if job.camera.debug_compressed.get_subscription_count():
            job.camera.debug_compressed.publish(_jpeg_msg(picture, job.header))


def _image_msg(picture: NDArray[np.uint8], header: Header) -> Image:
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, encoding='bgr8', step=3 * width)
    message.data.frombytes(picture.data.cast('B'))  # cheapest: a single copy
    return message


def _jpeg_msg(picture: NDArray[np.uint8], header: Header) -> CompressedImage:
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data.frombytes(cv2.imencode('.jpg', picture)[1].tobytes())
    return message
