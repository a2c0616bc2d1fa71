"""Image messages become source images, bit for bit, or are refused with the reason."""

import array
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.needs import need
from mbv2ssd_ros.core import image_message
from mbv2ssd_ros.core.errors import UnsupportedImageError
from mbv2ssd_ros.core.image import resize_into
from mbv2ssd_ros.core.image_message import ENCODINGS, image_from_msg

BYTES_A_PIXEL = {
    'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1, '8UC1': 1, '8UC3': 3, '8UC4': 4,
    'rgb16': 6, 'bgr16': 6, 'rgba16': 8, 'bgra16': 8, 'mono16': 2, '16UC3': 6,
    '16UC4': 8, 'uyvy': 2, 'yuv422': 2, 'yuyv': 2, 'yuv422_yuy2': 2, 'nv12': 1, 'nv21': 1,
    **{f'bayer_{p}8': 1 for p in ('rggb', 'bggr', 'gbrg', 'grbg')},
    **{f'bayer_{p}16': 2 for p in ('rggb', 'bggr', 'gbrg', 'grbg')}}


def message(encoding, width, height, data, step=None, is_bigendian=0):
    """Make what rclpy hands over, without rclpy."""
    return SimpleNamespace(
        encoding=encoding, width=width, height=height, is_bigendian=is_bigendian,
        step=width * BYTES_A_PIXEL[encoding] if step is None else step,
        data=array.array('B', bytes(data)))


def random_message(encoding, width=6, height=4, padding=0, is_bigendian=0, seed=0):
    """Make a message of random bytes."""
    step = width * BYTES_A_PIXEL[encoding] + padding
    rows = height * 3 // 2 if encoding in ('nv12', 'nv21') else height
    data = np.random.default_rng(seed).integers(0, 256, rows * step, dtype=np.uint8)
    return message(encoding, width, height, data, step, is_bigendian)


def bgr(image):
    """Return a source image as (H, W, 3) BGR, by plain indexing."""
    pixels = image.pixels if image.pixels.ndim == 3 else np.dstack([image.pixels] * 3)
    order = {'rgb': (2, 1, 0), 'rgba': (2, 1, 0)}.get(image.channel_order, (0, 1, 2))
    return pixels[..., list(order)]


@pytest.mark.parametrize('is_bigendian', [0, 1])
@pytest.mark.parametrize('encoding', [e for e in ENCODINGS if not e.endswith(('C1', 'C4'))])
def test_equals_rosbags_image(encoding, is_bigendian):
    rosbags_image = need('rosbags.image')
    msg = random_message(encoding, is_bigendian=is_bigendian)
    reference = SimpleNamespace(**vars(msg))
    if encoding.startswith('nv'):
        reference.height = msg.height * 3 // 2  # rosbags counts the chroma rows
    if BYTES_A_PIXEL[encoding] < 2 or '16' not in encoding:
        reference.is_bigendian = 0  # rosbags would swap the bytes of bytes
    expected = rosbags_image.message_to_cvimage(reference, 'bgr8')
    np.testing.assert_array_equal(bgr(image_from_msg(msg)), expected)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_padding_at_the_end_of_rows_is_not_image(encoding):
    padded = random_message(encoding, padding=10)
    rows = np.frombuffer(padded.data, np.uint8).reshape(-1, padded.step)
    packed = message(encoding, padded.width, padded.height, rows[:, :-10].tobytes())
    np.testing.assert_array_equal(
        image_from_msg(padded).pixels, image_from_msg(packed).pixels)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_last_row_may_come_without_its_padding(encoding):
    msg = random_message(encoding, padding=10)
    whole = image_from_msg(msg).pixels.copy()
    msg.data = msg.data[:-10]
    np.testing.assert_array_equal(image_from_msg(msg).pixels, whole)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_size_is_height_then_width(encoding):
    assert image_from_msg(random_message(encoding, width=8, height=4)).size_hw == (4, 8)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_can_be_resized(encoding):
    slot = np.zeros((5, 7, 3), np.uint8)
    resize_into(image_from_msg(random_message(encoding, padding=3)), 'letterbox', slot)
    assert slot.any()


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', '8UC3'])
def test_eight_bit_images_are_views_of_the_message(encoding):
    msg = random_message(encoding, padding=5)
    assert np.shares_memory(image_from_msg(msg).pixels, np.frombuffer(msg.data, np.uint8))


def test_a_red_pixel_is_red_in_rgb_and_bgr():
    red_rgb = image_from_msg(message('rgb8', 1, 1, [255, 0, 0]))
    red_bgr = image_from_msg(message('bgr8', 1, 1, [0, 0, 255]))
    assert bgr(red_rgb).tolist() == bgr(red_bgr).tolist() == [[[0, 0, 255]]]


@pytest.mark.parametrize(('pattern', 'red_at'), [
    ('rggb', (0, 0)), ('bggr', (1, 1)), ('grbg', (0, 1)), ('gbrg', (1, 0))])
@pytest.mark.parametrize('bits', [8, 16])
def test_bayer_names_start_at_the_top_left_pixel(pattern, red_at, bits):
    mosaic = np.zeros((6, 8), np.uint8 if bits == 8 else np.uint16)
    mosaic[red_at[0]::2, red_at[1]::2] = 2 ** bits - 1
    msg = message(f'bayer_{pattern}{bits}', 8, 6, mosaic.tobytes())
    assert bgr(image_from_msg(msg))[3, 4].tolist() == [0, 0, 255]


@pytest.mark.parametrize(('is_bigendian', 'data'), [(0, [0x34, 0x12]), (1, [0x12, 0x34])])
def test_mono16_is_scaled_by_255_over_65535(is_bigendian, data):
    msg = message('mono16', 1, 1, data, is_bigendian=is_bigendian)
    assert image_from_msg(msg).pixels.tolist() == [[0x1234 * 255 // 65535]]


def test_white_of_16_bits_is_white_of_8():
    assert image_from_msg(message('mono16', 1, 1, [255, 255])).pixels.tolist() == [[255]]


def test_nv12_and_nv21_swap_the_chroma_planes():
    luma, chroma = [81] * 4, [90, 240]  # BT.601 red as Cb, Cr
    nv12 = image_from_msg(message('nv12', 2, 2, [*luma, *chroma]))
    nv21 = image_from_msg(message('nv21', 2, 2, [*luma, *chroma[::-1]]))
    np.testing.assert_array_equal(nv12.pixels, nv21.pixels)
    np.testing.assert_allclose(nv12.pixels[0, 0], [0, 0, 255], atol=2)


@pytest.mark.parametrize(('encoding', 'width', 'height', 'step', 'count', 'expected'), [
    ('bgr8', 4, 2, 12, 23, '23 bytes, needs 24'),
    ('bgr8', 4, 2, 12, 0, '0 bytes, needs 24'),
    ('bgr8', 4, 2, 11, 24, 'step of 11 bytes, a row needs 12'),
    ('bgr8', 4, 2, 0, 24, 'step of 0 bytes, a row needs 12'),
    ('mono16', 4, 2, 7, 24, 'step of 7 bytes, a row needs 8'),
    ('bgr8', 0, 2, 12, 24, '0 x 2 pixels'),
    ('bgr8', 4, 0, 12, 24, '4 x 0 pixels'),
    ('mono8', 40000, 1, 40000, 40000, '40000 x 1 pixels'),
    ('bgr8', 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 24, '4294967295 x 4294967295 pixels'),
    ('bgr8', 30000, 30000, 90000, 24, '24 bytes, needs 2700000000'),
    ('yuyv', 3, 2, 6, 24, '3 x 2 pixels; this encoding needs an even width'),
    ('nv12', 4, 3, 4, 24, '4 x 3 pixels; this encoding needs an even width and height'),
    ('nv12', 4, 4, 4, 23, '23 bytes, needs 24'),
    ('nv12', 0, 0, 4, 24, '0 x 0 pixels'),
    ('bayer_rggb8', 2, 9, 2, 24, '2 x 9 pixels; this encoding needs at least 3 x 3'),
])
def test_what_cannot_be_an_image_is_refused(encoding, width, height, step, count, expected):
    with pytest.raises(UnsupportedImageError, match=f'{encoding} image.*{expected}'):
        image_from_msg(message(encoding, width, height, bytes(count), step))


@pytest.fixture
def fresh_cv_bridge():
    """Forget whether cv_bridge was found, before and after."""
    image_message._cv_bridge.cache_clear()
    yield
    image_message._cv_bridge.cache_clear()


@pytest.mark.parametrize('encoding', ['', 'BGR8', 'bgr', '32FC3', '8UC2', 'nv24', '\ufffd' * 50])
def test_an_unknown_encoding_is_named(encoding, monkeypatch, fresh_cv_bridge):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)  # as where it is not installed
    msg = message('bgr8', 1, 1, [1, 2, 3])
    msg.encoding = encoding
    with pytest.raises(UnsupportedImageError, match=f"encoding '{encoding}' is not one of rgb8"):
        image_from_msg(msg)


def test_an_unknown_encoding_goes_through_cv_bridge(monkeypatch, fresh_cv_bridge):
    class CvBridge:
        def imgmsg_to_cv2(self, msg, desired):
            assert (msg.encoding, desired) == ('nv24', 'bgr8')
            return np.full((2, 3, 3), 7, np.uint8)

    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=CvBridge))
    msg = message('bgr8', 3, 2, bytes(18))
    msg.encoding = 'nv24'
    image = image_from_msg(msg)
    assert (image.channel_order, image.size_hw, image.pixels.max()) == ('bgr', (2, 3), 7)


def test_an_error_in_cv_bridge_is_an_unsupported_image(monkeypatch, fresh_cv_bridge):
    class CvBridge:
        def imgmsg_to_cv2(self, msg, desired):
            raise KeyError('64FC7')

    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=CvBridge))
    msg = message('bgr8', 3, 2, bytes(18))
    msg.encoding = '64FC7'
    with pytest.raises(UnsupportedImageError, match="'64FC7': cv_bridge cannot convert"):
        image_from_msg(msg)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_a_depth_image_is_refused(encoding):
    msg = message('mono16', 1, 1, [1, 2])
    msg.encoding = encoding
    with pytest.raises(UnsupportedImageError, match=f"'{encoding}' is a depth image.*mono16"):
        image_from_msg(msg)


@pytest.mark.parametrize(('bits', 'value', 'expected'), [
    (10, 1023, 255), (10, 512, 128), (10, 4095, 255), (12, 4095, 255), (12, 16, 1), (8, 7, 7),
    (16, 1023, 3)])
def test_significant_bits_decide_what_is_white(bits, value, expected):
    msg = message('mono16', 1, 1, value.to_bytes(2, 'little'))
    assert image_from_msg(msg, bits).pixels.tolist() == [[expected]]
    msg = message('bayer_rggb16', 4, 4, value.to_bytes(2, 'little') * 16)
    assert (image_from_msg(msg, bits).pixels == expected).all()


@pytest.mark.parametrize('seed', range(4))
def test_random_fields_give_an_image_or_a_refusal(seed):
    rng = np.random.default_rng(seed)
    images = 0
    for _ in range(500):
        side = (0, 1, 2, 3, 5, 8, 640, 32766, 40000, 2 ** 32 - 1)
        msg = SimpleNamespace(
            encoding=rng.choice([*ENCODINGS, 'nonsense']),
            width=int(rng.choice(side)), height=int(rng.choice(side)),
            step=int(rng.choice([0, 1, 7, 24, 64, 1920, 2 ** 32 - 1])),
            is_bigendian=int(rng.integers(0, 256)),
            data=array.array('B', bytes(int(rng.integers(0, 2000)))))
        try:
            resize_into(image_from_msg(msg), 'letterbox', np.zeros((4, 6, 3), np.uint8))
            images += 1
        except UnsupportedImageError:
            pass
    assert 0 < images < 500  # the generator makes both


def test_the_table_of_the_test_is_complete():
    assert set(BYTES_A_PIXEL) == set(ENCODINGS)
