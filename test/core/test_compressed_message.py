"""Compressed image messages are decoded as they are stored, or refused with the reason."""

import array
import struct
from types import SimpleNamespace
import zlib

import cv2
import numpy as np
import pytest

from helpers.needs import need
from mbv2ssd_ros.core.compressed_message import image_from_compressed_msg
from mbv2ssd_ros.core.errors import UnsupportedImageError

EXTENSIONS = ('.jpg', '.png', '.webp')
# blue on the left, red on the right; wider than high
PICTURE = np.zeros((32, 48, 3), np.uint8)
PICTURE[:, :24, 0], PICTURE[:, 24:, 2] = 255, 255


def message(data, name='jpeg'):
    """Make what rclpy hands over, without rclpy."""
    return SimpleNamespace(format=name, data=array.array('B', bytes(data)))


def encoded(extension, picture=PICTURE, *flags):
    """Return a file's bytes."""
    return cv2.imencode(extension, picture, flags)[1].tobytes()


def png_claiming(width, height):
    """Return a PNG of correct checksums whose header claims any size."""
    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(
            kind + body))
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
            + chunk(b'IDAT', zlib.compress(bytes(100))) + chunk(b'IEND', b''))


@pytest.mark.parametrize('extension', EXTENSIONS)
def test_decodes_to_bgr(extension):
    image = image_from_compressed_msg(message(encoded(extension)))
    assert (image.channel_order, image.size_hw) == ('bgr', (32, 48))
    np.testing.assert_allclose(image.pixels[16, 4], [255, 0, 0], atol=8)
    np.testing.assert_allclose(image.pixels[16, 44], [0, 0, 255], atol=8)


@pytest.mark.parametrize('extension', EXTENSIONS)
def test_equals_rosbags_image(extension):
    rosbags_image = need('rosbags.image')
    msg = message(encoded(extension))
    np.testing.assert_array_equal(
        image_from_compressed_msg(msg).pixels, rosbags_image.compressed_image_to_cvimage(msg))


@pytest.mark.parametrize('flags', [
    (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_jpeg_variants(flags):
    image = image_from_compressed_msg(message(encoded('.jpg', PICTURE, *flags)))
    assert image.size_hw == (32, 48)


@pytest.mark.parametrize('quality', [80, 101])  # above 100 is lossless, another chunk type
def test_webp_variants_have_their_size(quality):
    data = encoded('.webp', PICTURE, cv2.IMWRITE_WEBP_QUALITY, quality)
    assert image_from_compressed_msg(message(data)).size_hw == (32, 48)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
def test_grey_becomes_three_channels(extension):
    image = image_from_compressed_msg(message(encoded(extension, PICTURE[..., 0])))
    assert image.pixels.shape == (32, 48, 3)


def test_bytes_after_the_end_of_a_jpeg_do_not_matter():
    assert image_from_compressed_msg(message(encoded('.jpg') + bytes(500))).size_hw == (32, 48)


def test_an_orientation_in_exif_does_not_turn_the_boxes():
    tiff = (b'II*\0\x08\0\0\0' + struct.pack('<HHHII', 1, 0x0112, 3, 1, 6) + bytes(4))
    exif = b'Exif\0\0' + tiff
    data = encoded('.jpg')
    turned = data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (48, 32)
    assert image_from_compressed_msg(message(turned)).size_hw == (32, 48)


def mosaic(picture):
    """Sample a bgr picture as a bayer_rggb8 sensor does."""
    pixels = picture[..., 1].copy()
    pixels[0::2, 0::2], pixels[1::2, 1::2] = picture[0::2, 0::2, 2], picture[1::2, 1::2, 0]
    return pixels


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('stored', ['', 'mono8'])
def test_a_compressed_bayer_mosaic_has_colours(extension, stored):
    data = encoded(extension, mosaic(PICTURE), cv2.IMWRITE_JPEG_QUALITY, 100)
    name = f'bayer_rggb8; {extension[1:]} compressed {stored}'
    pixels = image_from_compressed_msg(message(data, name)).pixels
    np.testing.assert_allclose(pixels[8:24, 4:20], np.broadcast_to([255, 0, 0], (16, 16, 3)),
                               atol=40)
    np.testing.assert_allclose(pixels[16, 44], [0, 0, 255], atol=40)


@pytest.mark.parametrize(('name', 'order'), [
    ('rgb8; jpeg compressed rgb8', 'rgb'), ('rgb8; jpeg compressed bgr8', 'bgr'),
    ('bgr8; jpeg compressed bgr8', 'bgr'), ('bayer_rggb8; jpeg compressed bgr8', 'bgr'),
    ('rgb8', 'bgr'), ('jpeg', 'bgr'), ('', 'bgr'), ('rgb8; jpeg compressed ', 'bgr')])
def test_the_format_says_the_order_of_the_channels(name, order):
    image = image_from_compressed_msg(message(encoded('.jpg'), name))
    assert image.channel_order == order
    np.testing.assert_allclose(image.pixels[16, 4], [255, 0, 0], atol=8)


@pytest.mark.parametrize('name', ['16UC1; png compressed ', '32FC1; compressedDepth png',
                                  '16UC1; compressedDepth rvl'])
def test_a_compressed_depth_image_is_refused(name):
    with pytest.raises(UnsupportedImageError, match=f'{name}.*is a depth image'):
        image_from_compressed_msg(message(encoded('.png'), name))


def test_significant_bits_of_a_png():
    picture = np.full((4, 6), 1023, np.uint16)
    data = encoded('.png', picture)
    assert (image_from_compressed_msg(message(data, 'mono16; png compressed ')).pixels == 3).all()
    assert (image_from_compressed_msg(message(data), bits=10).pixels == 255).all()


@pytest.mark.parametrize('keep', [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize('extension', EXTENSIONS)
def test_a_truncated_file_is_refused(extension, keep):
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    data = encoded(extension, picture)
    with pytest.raises(UnsupportedImageError, match=f'{int(len(data) * keep)} bytes is truncated'):
        image_from_compressed_msg(message(data[:int(len(data) * keep)]))


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused():
    thumbnail = encoded('.jpg', PICTURE[:8, :8])
    data = encoded('.jpg')
    data = data[:2] + b'\xff\xe2' + struct.pack('>H', len(thumbnail) + 2) + thumbnail + data[2:]
    assert image_from_compressed_msg(message(data)).size_hw == (32, 48)
    with pytest.raises(UnsupportedImageError, match='no end marker'):
        image_from_compressed_msg(message(data[:-20]))


def test_a_flipped_bit_in_a_png_is_refused():
    data = bytearray(encoded('.png'))
    data[len(data) // 2] ^= 1
    with pytest.raises(UnsupportedImageError, match="wrong checksum of the chunk b'IDAT'"):
        image_from_compressed_msg(message(data))


def test_a_png_without_enough_pixels_is_refused():
    with pytest.raises(UnsupportedImageError, match='is corrupt'):
        image_from_compressed_msg(message(png_claiming(64, 64), 'png'))


@pytest.mark.parametrize(('width', 'height'), [(50000, 50000), (2 ** 31 - 1, 1), (0, 5)])
def test_an_impossible_size_is_refused_before_decoding(width, height):
    with pytest.raises(UnsupportedImageError, match=f"'png'.*declares {width} x {height} pixels"):
        image_from_compressed_msg(message(png_claiming(width, height), 'png'))


def test_a_jpeg_that_claims_gigapixels_is_refused():
    data = bytearray(encoded('.jpg'))
    frame = data.index(b'\xff\xc0')
    data[frame + 5:frame + 9] = struct.pack('>HH', 65535, 65535)
    with pytest.raises(UnsupportedImageError, match='declares 65535 x 65535 pixels'):
        image_from_compressed_msg(message(data))


@pytest.mark.parametrize('data', [b'', b'\xff', b'not an image', b'GIF89a' + bytes(50)])
def test_another_format_is_named_with_its_first_bytes(data):
    start = f"'cheese'.*{len(data)} bytes start with '{data[:8].hex(' ')}'"
    with pytest.raises(UnsupportedImageError, match=start):
        image_from_compressed_msg(message(data, 'cheese'))


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('extension', EXTENSIONS)
def test_random_damage_gives_an_image_or_a_refusal(extension, seed):
    rng = np.random.default_rng(seed)
    whole = encoded(extension)
    refused = 0
    for _ in range(100):
        data = bytearray(whole[:rng.integers(1, len(whole) + 1)])
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        try:
            image_from_compressed_msg(message(data))
        except UnsupportedImageError:
            refused += 1
    assert refused > 50
