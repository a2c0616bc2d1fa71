"""Damage to JPEG images is noticed, and whole ones are decoded as by OpenCV."""

import random

import cv2
import numpy as np
import pytest

from helpers.damage import damaged, JPEG_VARIANTS, PACKET_BYTES, scan_start
from helpers.needs import need
from helpers.paths import ROOT
from mbv2ssd_ros.core import jpeg_decoder
from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.jpeg_decoder import decode_any, decode_jpeg

IMAGES = 1000
# A JPEG without checksum may be another valid image after damage. Share of the damaged images that
# pass with more than a hundredth of their pixels changed by more than 16 grey levels:
MOST_UNNOTICED = {'cut': 0.0, 'zeros': 0.0, 'hole': 0.02, 'swap': 0.1}


@pytest.fixture(scope='module')
def pictures():
    """Read the demo images, as a camera would send them."""
    paths = sorted((ROOT / 'config/demo/images').glob('*.jpg'))
    return [cv2.resize(cv2.imread(str(path)), (640, 480)) for path in paths]


def encoded(picture, variant='baseline'):
    return cv2.imencode('.jpg', picture, JPEG_VARIANTS[variant])[1].tobytes()


def differs(found, whole):
    """Whether a visible part of an image is wrong."""
    return (np.abs(found.astype(int) - whole).max(axis=2) > 16).mean() > 0.01


@pytest.mark.parametrize('variant', JPEG_VARIANTS)
def test_whole_images_have_the_pixels_of_opencv(pictures, variant):
    need('simplejpeg')
    for picture in pictures:
        for size_wh in ((640, 480), (321, 239), (17, 33)):
            for view in (picture, picture[..., 1]):
                data = encoded(cv2.resize(view, size_wh), variant)
                np.testing.assert_array_equal(decode_jpeg(data), decode_any(data))


@pytest.mark.parametrize('kind', MOST_UNNOTICED)
def test_a_thousand_damaged_images(pictures, kind):
    need('simplejpeg')
    rng, unnoticed = random.Random(kind), 0
    files = [(data, decode_jpeg(data)) for picture in pictures for variant in JPEG_VARIANTS
             for data in [encoded(picture, variant)]]
    for _ in range(IMAGES):
        data, whole = rng.choice(files)
        try:
            found = decode_jpeg(damaged(
                data, kind, rng.choice(PACKET_BYTES), rng, scan_start(data) + 4))
        except UnsupportedImageError:
            continue
        unnoticed += differs(found, whole)
    assert unnoticed <= MOST_UNNOTICED[kind] * IMAGES


def test_damage_is_not_printed(pictures, capfd):
    need('simplejpeg')
    data = encoded(pictures[0])
    with pytest.raises(UnsupportedImageError, match='is corrupt: Corrupt JPEG data'):
        decode_jpeg(data[:len(data) // 2] + data[-2:])
    assert capfd.readouterr() == ('', '')


def test_a_last_packet_filled_with_zeros_is_no_damage(pictures):
    data = encoded(pictures[0])
    np.testing.assert_array_equal(
        decode_jpeg(data[:-2] + bytes(100) + data[-2:]), decode_any(data))


def test_zeros_do_not_hide_other_damage(pictures):
    need('simplejpeg')
    data = encoded(pictures[0])
    with pytest.raises(UnsupportedImageError, match='is corrupt'):
        decode_jpeg(data[:-2] + b'\x5a' * 9 + bytes(100) + data[-2:])


def test_a_black_image_may_consist_of_zeros():
    data = encoded(np.zeros((480, 640, 3), np.uint8), 'optimised tables')
    assert bytes(100) in data
    assert not decode_jpeg(data).any()


def test_without_simplejpeg_opencv_decodes(pictures, monkeypatch):
    monkeypatch.setattr(jpeg_decoder, '_strict_decoder', lambda: None)
    assert not jpeg_decoder.notices_damage()
    assert decode_jpeg(encoded(pictures[0])).shape == (480, 640, 3)
