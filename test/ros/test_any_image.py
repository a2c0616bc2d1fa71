"""10,000 images of all kinds, most of them none: each becomes a source image or is refused."""

import array
import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mbv2ssd_ros.core.compressed_message import image_from_compressed_msg
from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.image import resize_into
from mbv2ssd_ros.core.image_message import ENCODINGS, image_from_msg

RAW_ROUNDS, RAW_IMAGES = 2, 4000
COMPRESSED_ROUNDS, COMPRESSED_IMAGES = 4, 500
# The names of sensor_msgs that need cv_bridge, and names that mean nothing.
OTHER_NAMES = (
    *(f'{bits}{kind}C{channels}' for bits, kind in (
        (8, 'S'), (16, 'S'), (32, 'S'), (32, 'F'), (64, 'F')) for channels in (1, 2, 3, 4)),
    '8UC2', '16UC2', 'nv24', 'yuv444', '', 'RGB8', 'rgb', 'rgb8 ', 'jpeg', '8UC5', 'x' * 5000,
    'äöü\u2603', '%s%n', '\0')
SIDES = (0, 1, 2, 3, 16, 33, 48, 64, 640, 32766, 32767, 65535, 2 ** 31, 2 ** 32 - 1)
MOST_BYTES = 200_000


def any_message(rng):
    """Make an image message; about one in three is what it says."""
    encoding = rng.choice(ENCODINGS if rng.random() < 0.8 else OTHER_NAMES)
    width, height = (rng.choice(SIDES[1:8] if rng.random() < 0.9 else SIDES) for _ in 'wh')
    row_bytes = width * rng.choice((1, 2, 3, 4, 6, 8))
    step = rng.choice((row_bytes, row_bytes, row_bytes + rng.randrange(9), row_bytes - 1, 0,
                       2 ** 32 - 1)) % 2 ** 32
    size = rng.choice((height * step, height * step * 3 // 2, height * step * 3 // 2,
                       height * step - 1, rng.randrange(1000), 0))
    data = array.array('B', bytes(rng.randbytes(32) * (min(max(size, 0), MOST_BYTES) // 32 + 1)))
    del data[max(size, 0):]
    return SimpleNamespace(encoding=encoding, width=width, height=height, step=step, data=data,
                           is_bigendian=rng.randrange(256))


@pytest.mark.parametrize('seed', range(RAW_ROUNDS))
def test_any_image_is_converted_or_refused(seed):
    rng, slot = random.Random(seed), np.zeros((32, 48, 3), np.uint8)
    converted, refused = set(), 0
    for _ in range(RAW_IMAGES):
        message = any_message(rng)
        before = message.data.tobytes()
        try:
            image = image_from_msg(message)
        except UnsupportedImageError as err:
            assert len(str(err)) > 20
            refused += 1
        else:
            assert image.size_hw == (message.height, message.width)
            resize_into(image, rng.choice(('stretch', 'letterbox')), slot)
            converted.add(message.encoding)
        assert message.data.tobytes() == before
    # else the messages would prove nothing
    assert converted == set(ENCODINGS)
    assert refused > RAW_IMAGES / 4


def any_compressed(rng):
    """Make a compressed image, mostly damaged, and return whether it is whole."""
    picture = np.frombuffer(rng.randbytes(33 * 48 * 3), np.uint8).reshape(33, 48, 3)
    extension = rng.choice(('.jpg', '.png', '.webp'))
    data = bytearray(cv2.imencode(extension, picture)[1].tobytes())
    damage = rng.randrange(6)
    if damage == 1:
        del data[rng.randrange(len(data)):]
    elif damage == 2:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 + rng.randrange(255)
    elif damage == 3:
        at = rng.randrange(len(data))
        data[at:at + rng.randrange(200)] = rng.randbytes(rng.randrange(200))
    elif damage == 4:
        data[12:] = rng.randbytes(rng.randrange(500))
    elif damage == 5:
        data = bytearray(rng.randbytes(rng.randrange(500)))
    return SimpleNamespace(format=rng.choice(('jpeg', '', 'rgb8; png compressed', '%s')),
                           data=array.array('B', bytes(data))), damage == 0


@pytest.mark.parametrize('seed', range(COMPRESSED_ROUNDS))
def test_any_compressed_image_is_decoded_or_refused(seed):
    rng, slot = random.Random(seed), np.zeros((32, 48, 3), np.uint8)
    decoded = refused = 0
    for _ in range(COMPRESSED_IMAGES):
        message, whole = any_compressed(rng)
        try:
            image = image_from_compressed_msg(message)
        except UnsupportedImageError:
            assert not whole
            refused += 1
        else:
            assert image.size_hw == (33, 48) or not whole
            resize_into(image, 'stretch', slot)
            decoded += 1
    assert min(decoded, refused) > COMPRESSED_IMAGES / 10
