"""Damaged images are counted by the real node and never published as empty scenes."""

import random

import cv2
import pytest
from sensor_msgs.msg import CompressedImage

from helpers.damage import damaged, JPEG_VARIANTS, PACKET_BYTES, scan_start
from helpers.detector_rig import CameraPeer, compressed_msg, picture
from helpers.needs import need
from helpers.paths import ROOT
from mbv2ssd_ros.core.compressed_message import image_from_compressed_msg
from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.frames import SKIPPED, UNDECODABLE

pytestmark = pytest.mark.ros
COUNT = 70


def images(extension, rng):
    """Make damaged images, as bytes."""
    source = cv2.resize(cv2.imread(str(ROOT / 'config/demo/images/astronaut.jpg')), (640, 480))
    variants = JPEG_VARIANTS.values() if extension == '.jpg' else [[]]
    files = [cv2.imencode(extension, source, flags)[1].tobytes() for flags in variants]
    for number in range(COUNT):
        data = rng.choice(files)
        start = scan_start(data) + 4 if extension == '.jpg' else 100
        kind = ('hole', 'cut')[number % 2] if extension == '.jpg' else 'hole'
        yield damaged(data, kind, rng.choice(PACKET_BYTES), rng, start)


def passes(data):
    """Whether the decoder takes an image for whole; test_jpeg_decoder.py says how often."""
    try:
        image_from_compressed_msg(CompressedImage(format='', data=data))
    except UnsupportedImageError:
        return False
    return True


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.webp'])
def test_damaged_images_are_undecodable(start_detector, extension):
    need('simplejpeg')
    sent = [data for data in images(extension, random.Random(extension)) if not passes(data)]
    assert len(sent) >= 0.95 * COUNT
    detector = start_detector(camera__transport='compressed', score_threshold=0.5)
    detector.activate()
    camera = CameraPeer(detector, message_type=CompressedImage)
    _, before = detector.diagnosis('camera camera', lambda s, v: v['in_flight'] == '0', 'counters')
    camera.received.clear()
    for data in sent:
        camera.send(CompressedImage(format='jpeg', data=data))
        detector.peer.spin_for(0.02)
    answer = camera.ask(compressed_msg(picture(red=[(1, 4, 255)])))
    _, now = detector.diagnosis(
        'camera camera', lambda s, v: (
            int(v['received']) - int(before['received']) == len(sent) + 1), 'all images')
    gone = {key: int(now[key]) - int(before[key]) for key in (
        'published', f'dropped.{UNDECODABLE}', f'dropped.{SKIPPED}')}
    assert gone['published'] == len(camera.received) == len(answer.detections) == 1
    # on a busy machine some are replaced by the next before the node takes them
    assert gone[f'dropped.{UNDECODABLE}'] >= len(sent) / 2
    assert gone[f'dropped.{UNDECODABLE}'] + gone[f'dropped.{SKIPPED}'] == len(sent)
    lines = detector.log().splitlines()
    assert all(line.startswith('[WARN] ') for line in lines if 'orrupt' in line)
    assert 1 <= sum('frame dropped' in line for line in lines) <= 12  # one in five seconds
