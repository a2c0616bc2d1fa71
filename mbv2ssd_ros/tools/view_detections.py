"""Print the detections of a camera, one line a frame, and draw them into its images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
import os
from pathlib import Path
import statistics
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.arguments import positive, whole
from mbv2ssd_ros.core.compressed_message import image_from_compressed_msg
from mbv2ssd_ros.core.drawing import bgr_pixels, detection_text, draw_detections
from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError, UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.image_message import image_from_msg
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.ros.missing_images import (
    image_topics,
    mismatch,
    nothing_arrives,
    WantedCamera,
)
from mbv2ssd_ros.tools.cli.json_file import json_lines
from mbv2ssd_ros.tools.cli.program import log, run
from mbv2ssd_ros.tools.cli.ros_session import ros_module, ros_node, valid_topic
from mbv2ssd_ros.tools.cli.settings import flag, full_topic, option, read

PROGRAM = 'view_detections'
PAIRING_FRAMES = 60  # images, and detections without their image, kept for pairing
UNWRITTEN_FRAMES = 30  # pictures waiting for the disk; more are not written
_ESCAPE = 27  # key
LAST_IMAGE_S = 1.0  # wait for the images of the last detections


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is received, and what is written."""

    detections_topic: str = option('--detections-topic', default='camera/detections',
                                   help='vision_msgs/Detection2DArray (default %(default)s)')
    image_topic: str = option('--image-topic', default='camera/image_raw',
                              help='images to draw into (default %(default)s)')
    transport: str = option('--transport', choices=('raw', 'compressed'), default='raw',
                            help='of the images; compressed: on IMAGE_TOPIC/compressed, as '
                            'image_transport names it (default %(default)s)')
    output: Path = option('--output', type=Path, default=Path('demo_out'), metavar='FOLDER',
                          help='gets frame_0001.png and so on (default %(default)s)')
    show: bool = flag('--show', 'show the pictures in a window instead; q or Esc ends')
    frames: int | None = option('--frames', type=whole, metavar='N',
                                help='end after N frames (default: at Ctrl-C)')
    timeout: float = option('--timeout', type=positive, default=10.0, metavar='S',
                            help='end with exit code 1 after that many seconds without '
                            'detections (default %(default)g)')
    record: Path | None = option('--record', type=Path, metavar='FILE',
                                 help='write every frame there, as JSON lines')
    ros_args: Sequence[str] = ()


class NothingArrivedError(Mbv2SsdError):
    """The awaited detections, or the images to draw them into, did not come."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 0 also after SIGINT, 1 when detections or images did not come."""
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  view_detections --frames 20\n'
        '  view_detections --show --transport compressed\n'
        '  view_detections --detections-topic /front/detections '
        '--image-topic /front/image_raw\n'
        'ROS arguments follow --ros-args, such as --ros-args -r __ns:=/robot1')
    return run(PROGRAM, lambda: _view(settings), interrupted='', interrupted_code=0)


def _view(settings: Settings) -> None:
    try:
        settings.output.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f'--output {settings.output}: {err.strerror}') from err
    if settings.show and (reason := _why_no_window()):
        log(PROGRAM, f'--show: {reason}; pictures are written to {settings.output}')
        settings = replace(settings, show=False)
    with (ros_node(PROGRAM, settings.ros_args) as node, json_lines(settings.record) as record,
          Viewer(node, settings, record) as viewer):
        try:
            viewer.watch()
        except KeyboardInterrupt:
            pass
        problem = viewer.why_no_image()
    print(viewer.summary(), flush=True)
    if problem:
        raise NothingArrivedError(problem)


def _why_no_window() -> str:
    """Return why OpenCV cannot open a window; empty where it can."""
    if not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        return 'no display here (DISPLAY is not set)'
    try:
        cv2.namedWindow(PROGRAM, cv2.WINDOW_NORMAL)
    except cv2.error:
        return 'this OpenCV has no windows; opencv-python has, opencv-python-headless has not'
    return ''


@dataclass(frozen=True)
class ViewedFrame:
    """The detections of one image, as they were received."""

    number: int  # 1 for the first one received
    stamp_ns: int  # of the image
    latency_ms: float  # from the image's stamp until here
    boxes_xyxy_px: NDArray[np.float32]  # (K, 4)
    scores: NDArray[np.float32]  # (K,)
    names: tuple[str, ...]
    tracks: tuple[str, ...]  # ids, '' without one

    @property
    def file_name(self) -> str:
        """Name of the annotated picture."""
        return f'frame_{self.number:04d}.png'

    def line(self) -> str:
        """Describe the frame: 'frame 3: cat #12 0.91, dog 0.62 (8.3 ms)'."""
        found = ', '.join(map(detection_text, self.names, self.scores, self.tracks))
        return f'frame {self.number}: {found or "nothing"} ({self.latency_ms:.1f} ms)'

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a line of --record."""
        return {
            'stamp_ns': self.stamp_ns, 'latency_ms': self.latency_ms,
            'file': self.file_name,
            'names': list(self.names), 'ids': list(self.tracks),
            'scores': [round(float(s), 4) for s in self.scores],
            'boxes_xyxy_px': np.round(self.boxes_xyxy_px.astype(float), 2).tolist()}


def viewed_frame(message: Any, number: int, received_ns: int) -> ViewedFrame:
    """
    Read a Detection2DArray; the first hypothesis of each detection counts.

    `received_ns` is of the clock that the stamp is from.
    """
    sent_ns = stamp_ns(message.header)
    found = [detection for detection in message.detections if detection.results]
    best = [detection.results[0].hypothesis for detection in found]
    centres_sizes = np.array([
        (d.bbox.center.position.x, d.bbox.center.position.y, d.bbox.size_x, d.bbox.size_y)
        for d in found], dtype=np.float32).reshape(-1, 4)
    half = centres_sizes[:, 2:] / 2
    boxes = np.hstack([centres_sizes[:, :2] - half, centres_sizes[:, :2] + half])
    return ViewedFrame(
        number, sent_ns, 1e-6 * (received_ns - sent_ns), boxes,
        np.array([hypothesis.score for hypothesis in best], dtype=np.float32),
        tuple(hypothesis.class_id for hypothesis in best), tuple(d.id for d in found))


class Viewer:
    """Pairs detections with images by stamp, prints, draws and keeps count."""

    def __init__(self, node: Any, settings: Settings, record: Callable[..., None]) -> None:
        """Subscribe with a node of this process; `record` gets the fields of every frame."""
        self._node, self._settings, self._record = node, settings, record
        self._images: dict[int, Any] = {}  # by stamp: messages without their detections yet
        self._waiting: dict[int, ViewedFrame] = {}  # by stamp: detections without their image
        self._latencies_ms: list[float] = []
        self._detections = self._images_seen = self._written = 0
        self._writer = ThreadPoolExecutor(max_workers=1)  # PNG takes longer than a frame may
        self._unwritten: deque[Future[None]] = deque()
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image
        detection_array = ros_module('vision_msgs.msg').Detection2DArray
        # best effort matches every publisher
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        with valid_topic('--detections-topic', settings.detections_topic):
            self._detections_topic = node.create_subscription(
                detection_array, settings.detections_topic, self._on_detections, qos).topic_name
        with valid_topic('--image-topic', settings.image_topic):
            self._image_topic = node.create_subscription(
                CompressedImage if settings.transport == 'compressed' else Image,
                full_topic(settings.image_topic, settings.transport), self._on_image,
                qos).topic_name

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown(wait=True)
        for future in self._unwritten:
            future.result()

    def watch(self) -> None:
        """
        Receive until --frames are there or forever.

        Raises NothingArrivedError without detections for --timeout seconds.
        """
        from rclpy.executors import SingleThreadedExecutor
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        wanted, seen, since = self._settings.frames, 0, time.monotonic()
        while not self._complete():
            executor.spin_once(timeout_sec=0.1)
            if len(self._latencies_ms) > seen:
                seen, since = len(self._latencies_ms), time.monotonic()
            elif (wanted or not seen) and time.monotonic() - since > self._settings.timeout:
                raise NothingArrivedError(self._what_to_check())
        last = time.monotonic() + LAST_IMAGE_S
        while self._waiting and self._images_seen and time.monotonic() < last:
            executor.spin_once(timeout_sec=0.1)

    def why_no_image(self) -> str:
        """Return the reason why detections came but none was drawn; empty otherwise."""
        if self._written or not self._latencies_ms:
            return ''
        if self._images_seen:
            return (f'{self._images_seen} images came on {self._image_topic}, none with the stamp '
                    'of detections: are they of this camera?')
        return f'no image to draw into: {self._no_images()}'

    def _no_images(self) -> str:
        transport, topic = self._settings.transport, self._image_topic
        topics = image_topics(self._node)
        wanted = WantedCamera('camera', topic, transport, 'best_effort')
        if reason := mismatch(wanted, topics):
            other = 'compressed' if transport == 'raw' else 'raw'
            fits = f'--transport {other}' if '.transport' in reason.remedy else '--image-topic'
            return f'{reason.found}; set {fits}'
        return str(nothing_arrives(wanted, topics[topic]))

    def summary(self) -> str:
        """Describe all frames together in a line."""
        times_ms = self._latencies_ms
        if not times_ms:
            return f'{PROGRAM}: no frames'
        missing = len(times_ms) - self._written
        return (
            f'{PROGRAM}: {len(times_ms)} frames, {self._detections} detections, latency median '
            f'{statistics.median(times_ms):.1f} ms ({min(times_ms):.1f} to {max(times_ms):.1f}); '
            f'{self._written} annotated images '
            f'{"shown" if self._settings.show else f"in {self._settings.output}"}'
            + (f', {missing} frames without an image' if missing else ''))

    def _complete(self) -> bool:
        wanted = self._settings.frames
        return wanted is not None and len(self._latencies_ms) >= wanted

    def _on_detections(self, message: Any) -> None:
        received_ns = self._node.get_clock().now().nanoseconds
        if self._complete():
            return  # while the last images are waited for
        frame = viewed_frame(message, len(self._latencies_ms) + 1, received_ns)
        self._latencies_ms.append(frame.latency_ms)
        self._detections += len(frame.names)
        print(frame.line(), flush=True)
        self._record(**frame.to_dict())
        image = self._images.pop(frame.stamp_ns, None)
        if image is None:
            _remember(self._waiting, frame.stamp_ns, frame)
        else:
            self._annotate(image, frame)

    def _on_image(self, message: Any) -> None:
        self._images_seen += 1
        taken_ns = stamp_ns(message.header)
        frame = self._waiting.pop(taken_ns, None)
        if frame is None:
            _remember(self._images, taken_ns, message)
        else:
            self._annotate(message, frame)

    def _annotate(self, message: Any, frame: ViewedFrame) -> None:
        while self._unwritten and self._unwritten[0].done():
            self._unwritten.popleft().result()  # raises its error
        if len(self._unwritten) >= UNWRITTEN_FRAMES:
            return  # counted as missing
        try:
            image = (image_from_msg(message) if self._settings.transport == 'raw'
                     else image_from_compressed_msg(message))
        except UnsupportedImageError as err:
            log(PROGRAM, f'frame {frame.number} is not drawn: {err}')
            return
        self._written += 1
        if self._settings.show:
            cv2.imshow(PROGRAM, _draw(image, frame))
            if cv2.waitKey(1) & 0xff in (ord('q'), _ESCAPE):
                raise KeyboardInterrupt
            return
        self._unwritten.append(
            self._writer.submit(_write, self._settings.output, image, frame))

    def _what_to_check(self) -> str:
        settings, node = self._settings, self._node
        found = 'no detections'
        if self._latencies_ms:
            found = f'only {len(self._latencies_ms)} of {settings.frames} frames came, then none'
        if not node.count_publishers(self._detections_topic):
            advice = ('it has no publisher: is the detector running, active, and in this '
                      'ROS_DOMAIN_ID? (ros2 lifecycle get /detector)')
        elif not self._images_seen:
            advice = f'no images either: {self._no_images()}'
        else:
            advice = (f'{self._images_seen} images came on {self._image_topic}: does the '
                      'detector subscribe to that topic, and what does its log say about dropped '
                      'frames?')
        return f'{found} on {self._detections_topic} for {settings.timeout:g} s; {advice}'


def _remember(items: dict[int, Any], stamp_ns: int, item: Any) -> None:
    items[stamp_ns] = item
    if len(items) > PAIRING_FRAMES:
        del items[next(iter(items))]  # the oldest


def _draw(image: SourceImage, frame: ViewedFrame) -> NDArray[np.uint8]:
    return draw_detections(bgr_pixels(image), frame.boxes_xyxy_px, frame.scores, frame.names,
                           frame.tracks)


def _write(folder: Path, image: SourceImage, frame: ViewedFrame) -> None:
    path = folder / frame.file_name
    if not cv2.imwrite(str(path), _draw(image, frame), [cv2.IMWRITE_PNG_COMPRESSION, 3]):
        raise ConfigError(f'{path} cannot be written; is the disk full, is the folder writable?')


if __name__ == '__main__':
    sys.exit(main())
