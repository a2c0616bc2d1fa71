"""Play an image folder, an image or a video as a camera on a ROS 2 topic."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, MutableMapping, Sequence
import json
import os
from pathlib import Path
import sys
import time
from typing import Any, TextIO

import cv2

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.ros.fast_dds import offer_profile
from mbv2ssd_ros.shipped import shipped_path
from mbv2ssd_ros.tools.cli.arguments import positive, size_wh, whole
from mbv2ssd_ros.tools.cli.program import log, run, say
from mbv2ssd_ros.tools.cli.ros_session import parse, ros_node
from mbv2ssd_ros.tools.playing.image_source import CameraFrame, ImageSource, open_source

PROGRAM = 'play_images'
DEFAULT_RATE_HZ = 10.0
JPEG_QUALITY = 90
ACKNOWLEDGED_S = 5.0  # upper bound, for subscribers on a busy machine
QOS_DEPTH = 5
SETTLE_S = 0.3  # discovery is not symmetric: we may see a subscriber that does not see us yet


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 0 also after SIGINT, 1 when there is nothing to play."""
    args = parse(_parser(), argv)
    return run(PROGRAM, lambda: _play(args), interrupted='', interrupted_code=0)


def share_large_images(environment: MutableMapping[str, str]) -> None:
    """
    Give Fast DDS room for images, unless the user has chosen a transport.

    With its default shared memory a best effort image of 720p is lost nearly always. The sender's
    side counts. Changes the environment; call it before rclpy is imported.
    """
    offer_profile(environment, shipped_path('config/fastdds_large_images.xml'))


def passes(source: ImageSource, repeat: bool) -> Iterator[CameraFrame]:
    """
    Play a source once or, with `repeat`, forever; log each skipped file once.

    Raises DataError after a whole pass without one frame.
    """
    told: set[str] = set()
    while True:
        empty = True
        for frame in source:
            empty = False
            yield frame
        for file, reason in source.skipped.items():
            if file not in told:
                told.add(file)
                log(PROGRAM, f'skipped {file}: {reason}')
        if empty:
            raise DataError(
                'nothing to play: not one of the files can be decoded; see the skipped files '
                'above')
        if not repeat:
            return


def paced(frames: Iterator[CameraFrame], rate_hz: float) -> Iterator[CameraFrame]:
    """Hold each frame back until it is due; resume after a stall without a burst."""
    due = time.monotonic()
    for frame in frames:
        time.sleep(max(0.0, due - time.monotonic()))
        yield frame
        due = max(due + 1 / rate_hz, time.monotonic())


def image_message(frame: CameraFrame, header: Any) -> Any:
    """Make a sensor_msgs/Image in bgr8 with the pixels of a frame, copied once."""
    from sensor_msgs.msg import Image
    height, width = frame.image_bgr.shape[:2]
    message = Image(
        header=header, height=height, width=width, encoding='bgr8', is_bigendian=0,
        step=3 * width)
    # Into the empty array of the fresh message: assigning an ndarray takes 40 ms at 640 x 480.
    message.data.frombytes(frame.image_bgr.data.cast('B'))
    return message


def compressed_message(frame: CameraFrame, header: Any) -> Any:
    """Make a CompressedImage with a JPEG of a frame; `format` is as image_transport writes it."""
    from sensor_msgs.msg import CompressedImage
    _, data = cv2.imencode('.jpg', frame.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data.frombytes(data.data.cast('B'))
    return message


def camera_qos(reliable: bool) -> Any:
    """Return the QoS of an image topic: reliable, or as camera drivers have it."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    return QoSProfile(
        depth=QOS_DEPTH, reliability=ReliabilityPolicy.RELIABLE if reliable
        else ReliabilityPolicy.BEST_EFFORT)


def _play(args: argparse.Namespace) -> None:
    source = open_source(args.path, args.size)
    share_large_images(os.environ)
    with ros_node(PROGRAM, args.ros_args) as node:
        _publish(source, node, args)


def _publish(source: ImageSource, node: Any, args: argparse.Namespace) -> None:
    camera = _Camera(node, args)
    if args.subscribers:
        _wait_for_subscribers(camera.publisher, args.subscribers)
    rate_hz = args.rate or source.rate_hz or DEFAULT_RATE_HZ
    say(PROGRAM, f'{args.path} on {camera.publisher.topic_name} at {rate_hz:g} Hz')
    with _record_file(args.record) as record:
        frames = passes(source, repeat=args.loop or args.count is not None)
        for count, frame in enumerate(paced(frames, rate_hz), start=1):
            stamp_ns = camera.publish(frame)
            record.write(json.dumps({'stamp_ns': stamp_ns, 'name': frame.name}) + '\n')
            if count == args.count:
                break
    let_frames_arrive(camera.publisher, args.reliable)
    say(PROGRAM, f'{count} frames published')


class _Camera:
    """The publisher, and the common part of its messages."""

    def __init__(self, node: Any, args: argparse.Namespace) -> None:
        from sensor_msgs.msg import CompressedImage, Image
        kind, self._encode, topic = (
            (Image, image_message, args.topic) if args.transport == 'raw'
            # the name that image_transport gives the compressed twin of a topic
            else (CompressedImage, compressed_message, f'{args.topic}/compressed'))
        self._clock = node.get_clock()
        self._frame_id = args.frame_id
        self.publisher = node.create_publisher(kind, topic, camera_qos(args.reliable))

    def publish(self, frame: CameraFrame) -> int:
        """Publish with the present time; return it in nanoseconds."""
        from std_msgs.msg import Header
        stamp = self._clock.now()
        header = Header(stamp=stamp.to_msg(), frame_id=self._frame_id)
        self.publisher.publish(self._encode(frame, header))
        nanoseconds: int = stamp.nanoseconds
        return nanoseconds


def _record_file(path: Path | None) -> TextIO:
    try:
        return Path(os.devnull if path is None else path).open('w', buffering=1)
    except OSError as err:
        raise ConfigError(f'--record {path}: cannot be written: {err}') from err


def _wait_for_subscribers(publisher: Any, wanted: int) -> None:
    told = False
    while publisher.get_subscription_count() < wanted:
        if not told:
            print(f'{PROGRAM}: waiting for {wanted} subscriber(s) of {publisher.topic_name}; '
                  '--no-wait starts at once', flush=True)
            told = True
        time.sleep(0.02)
    time.sleep(SETTLE_S)


def let_frames_arrive(publisher: Any, reliable: bool) -> None:
    """Wait for the last frames, acknowledged if reliable: shared memory goes with its writer."""
    if reliable:
        from rclpy.duration import Duration
        deadline = time.monotonic() + ACKNOWLEDGED_S
        while time.monotonic() < deadline:
            if publisher.wait_for_all_acked(Duration(seconds=0.1)):  # delays signals
                break
    else:
        time.sleep(0.2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n'
               '  play_images photos/ --rate 5 --loop\n'
               '  play_images drive.mp4 --topic /front/image_raw --size 640x480\n'
               'ROS arguments follow --ros-args, such as --ros-args -r __ns:=/robot1')
    parser.add_argument('path', type=Path, help='image folder, image or video file')
    parser.add_argument('--topic', default='/camera/image_raw',
                        help='where to publish (default %(default)s)')
    parser.add_argument('--transport', choices=('raw', 'compressed'), default='raw',
                        help='compressed: JPEG on TOPIC/compressed (default %(default)s)')
    parser.add_argument('--rate', type=positive, metavar='HZ',
                        help='frames in a second (default: as the video was recorded, '
                             f'{DEFAULT_RATE_HZ:g} for images)')
    parser.add_argument('--size', type=size_wh, metavar='WxH',
                        help='scale and crop every frame to this size, such as 640x480')
    parser.add_argument('--frame-id', default='camera',
                        help='of the message headers (default %(default)s)')
    parser.add_argument('--loop', action='store_true', help='start again at the end, for ever')
    parser.add_argument('--count', type=whole, metavar='N',
                        help='stop after N frames, starting again at the end where need be')
    parser.add_argument('--reliable', action='store_true',
                        help='reliable QoS (default: best effort, as camera drivers have it)')
    parser.add_argument('--subscribers', type=whole, default=1, metavar='N',
                        help='wait for N subscribers before the first frame (default 1)')
    parser.add_argument('--no-wait', dest='subscribers', action='store_const', const=0,
                        help='start at once')
    parser.add_argument('--record', type=Path, metavar='FILE',
                        help='write stamp and file name of every frame there, as JSON lines')
    return parser


if __name__ == '__main__':
    sys.exit(main())
