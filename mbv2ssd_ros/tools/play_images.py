"""Play images, a video, a webcam or a stream as a camera on a ROS 2 topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import sys
import time
from typing import Any

import cv2

from mbv2ssd_ros.core.arguments import positive, size_wh, whole
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.tools.cli.json_file import json_lines
from mbv2ssd_ros.tools.cli.program import run, say
from mbv2ssd_ros.tools.cli.ros_session import ros_node, valid_topic
from mbv2ssd_ros.tools.cli.settings import flag, full_topic, option, read
from mbv2ssd_ros.tools.playing.image_source import CameraFrame, open_source, passes
from mbv2ssd_ros.tools.playing.publishing import (
    camera_qos,
    let_frames_arrive,
    paced,
    SETTLE_S,
    share_large_images,
    wait_for,
    with_data,
)

PROGRAM = 'play_images'
DEFAULT_RATE_HZ = 10.0
JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is played, and how."""

    source: str = option(metavar='SOURCE', help='image folder, image, video, webcam (0, '
                         '/dev/video0) or address (rtsp://...)')
    topic: str = option('--topic', default='camera/image_raw',
                        help='where to publish (default %(default)s)')
    transport: str = option('--transport', choices=('raw', 'compressed'), default='raw',
                            help='compressed: JPEG on TOPIC/compressed, as image_transport '
                            'names it (default %(default)s)')
    rate: float | None = option('--rate', type=positive, metavar='HZ',
                                help='frames in a second (default: as the video was recorded, '
                                f'{DEFAULT_RATE_HZ:g} for images)')
    size: tuple[int, int] | None = option(
        '--size', type=size_wh, metavar='WxH',
        help='scale and crop every frame to this size, such as 640x480')
    frame_id: str = option('--frame-id', default='camera',
                           help='of the message headers (default %(default)s)')
    loop: bool = flag('--loop', 'start again at the end, forever')
    count: int | None = option('--count', type=whole, metavar='N', help='stop after N frames, '
                               'starting again at the end if necessary')
    reliable: bool = flag(
        '--reliable', 'reliable QoS (default: best effort, as camera drivers have it)')
    subscribers: int = option('--subscribers', type=whole, default=1, metavar='N', help='wait for '
                              'N subscribers before the first frame (default %(default)s)')
    no_wait: bool = flag('--no-wait', 'start at once')
    record: Path | None = option('--record', type=Path, metavar='FILE', help='write stamp and '
                                 'file name of every frame there, as JSON lines')
    ros_args: Sequence[str] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 0 also after SIGINT, 1 when there is nothing to play."""
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  play_images photos/ --rate 5 --loop\n'
        '  play_images 0                                  the first webcam\n'
        '  play_images drive.mp4 --topic /front/image_raw --size 640x480\n'
        'ROS arguments follow --ros-args, such as --ros-args -r __ns:=/robot1')
    return run(PROGRAM, lambda: _play(settings), interrupted='', interrupted_code=0)


def image_message(frame: CameraFrame, header: Any) -> Any:
    """Make a sensor_msgs/Image in bgr8."""
    from sensor_msgs.msg import Image
    height, width = frame.image_bgr.shape[:2]
    return with_data(Image(header=header, height=height, width=width, encoding='bgr8',
                           is_bigendian=0, step=3 * width), frame.image_bgr)


def compressed_message(frame: CameraFrame, header: Any) -> Any:
    """Make a CompressedImage with a JPEG; `format` is as image_transport writes it."""
    from sensor_msgs.msg import CompressedImage
    _, data = cv2.imencode('.jpg', frame.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return with_data(CompressedImage(header=header, format='bgr8; jpeg compressed bgr8'), data)


def _play(settings: Settings) -> None:
    source = open_source(settings.source, settings.size)
    if source.is_live and settings.rate:
        raise ConfigError(f'--rate {settings.rate:g}: {source.shown} comes at its own rate')
    share_large_images(os.environ)
    with ros_node(PROGRAM, settings.ros_args) as node, json_lines(settings.record) as record:
        from sensor_msgs.msg import CompressedImage, Image
        from std_msgs.msg import Header
        kind, message = ((Image, image_message) if settings.transport == 'raw'
                         else (CompressedImage, compressed_message))
        topic = full_topic(settings.topic, settings.transport)
        with valid_topic('--topic', topic):
            publisher = node.create_publisher(kind, topic, camera_qos(settings.reliable))
        if not settings.no_wait:
            wait_for(PROGRAM, f'{settings.subscribers} subscriber(s) of', lambda: (
                [publisher.topic_name]
                if publisher.get_subscription_count() < settings.subscribers else []))
            time.sleep(SETTLE_S)
        rate_hz = settings.rate or source.rate_hz or DEFAULT_RATE_HZ
        say(PROGRAM, f'{source.shown} on {publisher.topic_name} at {rate_hz:g} Hz')
        again = settings.loop or settings.count is not None
        frames = passes(source, repeat=again and not source.is_live)
        if not source.is_live:
            frames = paced(frames, rate_hz)
        for count, frame in enumerate(frames, start=1):
            stamp = node.get_clock().now()
            header = Header(stamp=stamp.to_msg(), frame_id=settings.frame_id)
            publisher.publish(message(frame, header))
            record(stamp_ns=stamp.nanoseconds, name=frame.name)
            if count == settings.count:
                break
        let_frames_arrive(publisher, settings.reliable)
        say(PROGRAM, f'{count} frames published')


if __name__ == '__main__':
    sys.exit(main())
