"""Images with boxes for people to look at; never in the way of the detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import colorsys
from dataclasses import dataclass
import threading
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.rate_limit import RateLimit
from mbv2ssd_ros.ros.camera import Camera

_TO_BGR = {'rgb': cv2.COLOR_RGB2BGR, 'rgba': cv2.COLOR_RGBA2BGR, 'bgra': cv2.COLOR_BGRA2BGR,
           'mono': cv2.COLOR_GRAY2BGR}
_GOLDEN_RATIO = 0.618034
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class _Job:
    camera: Camera
    image: SourceImage
    detections: Detections
    header: Header


class DebugImages:
    """Draws and publishes in a thread of its own, the newest image of each camera."""

    def __init__(self, class_names: Sequence[str], report: Callable[[Exception], None]) -> None:
        """
        Start the thread.

        Args:
            class_names: the name of each label.
            report: told of errors nobody expected.
        """
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
        Leave a frame to be drawn; costs next to nothing while nobody subscribes.

        Args:
            camera: whose debug topics are meant.
            image: not changed; may be a view of a message, which it keeps alive.
            detections: in pixels of the image.
            header: of the image.
            max_rate_hz: frames of this camera that come faster are not drawn.
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
        """End the thread; what waits is not drawn."""
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
                _, job = self._jobs.popitem()
            try:
                self._publish(job)
            except Exception as err:  # a bug must cost its picture, not the thread
                self._report(err)

    def _publish(self, job: _Job) -> None:
        picture = draw(job.image, job.detections, self._class_names)
        if job.camera.debug_image.get_subscription_count():
            job.camera.debug_image.publish(_image_msg(picture, job.header))
        if job.camera.debug_compressed.get_subscription_count():
            job.camera.debug_compressed.publish(_jpeg_msg(picture, job.header))


def draw(image: SourceImage, detections: Detections,
         class_names: Sequence[str]) -> NDArray[np.uint8]:
    """
    Draw boxes with labels and scores.

    Args:
        image: not changed.
        detections: in pixels of the image.
        class_names: the name of each label.

    Returns:
        (H, W, 3) uint8, bgr, of the size of the image.
    """
    conversion = _TO_BGR.get(image.channel_order)
    picture: Any = (image.pixels.copy() if conversion is None
                    else cv2.cvtColor(np.ascontiguousarray(image.pixels), conversion))
    thickness = max(1, round(min(image.size_hw) / 240))
    scale = 0.5 * thickness
    # the best last, on top
    for (x1, y1, x2, y2), score, label in reversed(list(zip(
            detections.boxes_xyxy.tolist(), detections.scores.tolist(),
            detections.labels.tolist(), strict=True))):
        colour = class_colour(label)
        left, top = int(x1), int(y1)
        cv2.rectangle(picture, (left, top), (int(x2), int(y2)), colour, thickness)
        text = f'{class_names[label]} {score:.2f}'
        (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
        baseline = max(top, height + below)  # inside the image where the box touches its top
        cv2.rectangle(picture, (left, baseline - height - below), (left + width, baseline),
                      colour, cv2.FILLED)
        cv2.putText(picture, text, (left, baseline - below // 2), _FONT, scale, (0, 0, 0),
                    thickness, cv2.LINE_AA)
    return np.asarray(picture)


def class_colour(label: int) -> tuple[int, int, int]:
    """
    Choose a bright colour for a class; neighbours are far apart.

    Args:
        label: class index.

    Returns:
        bgr, 0 to 255.
    """
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN_RATIO % 1.0, 0.7, 1.0)
    return int(255 * blue), int(255 * green), int(255 * red)


def _image_msg(picture: NDArray[np.uint8], header: Header) -> Image:
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, encoding='bgr8', step=3 * width)
    message.data.frombytes(picture.data.cast('B'))  # the one cheap way: a single copy
    return message


def _jpeg_msg(picture: NDArray[np.uint8], header: Header) -> CompressedImage:
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data.frombytes(cv2.imencode('.jpg', picture)[1].tobytes())
    return message
