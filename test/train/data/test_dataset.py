"""Images on disk, and the guard between training and evaluation."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from helpers.needs import need
from helpers.synthetic import add_image, add_list
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import memory_to_keep, refuse_overlap
from mbv2ssd_train.data.image_files import decode_image, read_file, reduce_image
from mbv2ssd_train.data.sources.open import open_dataset

CLASSES = ('bolt',)
PICTURE = np.zeros((30, 50, 3), np.uint8)
PICTURE[:, 25:] = (0, 0, 255)  # right half red
NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def encoded(suffix, picture=PICTURE):
    return cv2.imencode(suffix, picture)[1].tobytes()


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.bmp'])
def test_pixels_are_bgr(suffix):
    pixels = decode_image(encoded(suffix), 'a')
    assert pixels.shape == (30, 50, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[15, 45], [0, 0, 255], atol=4)


def test_grey_and_transparent_images_have_three_channels():
    assert decode_image(encoded('.png', PICTURE[..., 0]), 'a').shape == (30, 50, 3)
    assert decode_image(encoded('.png', np.dstack([PICTURE, PICTURE[..., 0]])), 'a').shape == (
        30, 50, 3)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.97])
@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.bmp'])
def test_a_truncated_image_is_named(suffix, share):
    data = encoded(suffix, NOISE)
    with pytest.raises(DataError, match=r'photos/a\.x: .*\d+ bytes'):
        decode_image(data[:int(share * len(data))], 'photos/a.x')


@pytest.mark.parametrize('data', [b'', b'\xff\xd8', b'not an image', bytes(1000), b'\x89PNG\r\n'])
def test_what_is_no_image_is_named(data):
    with pytest.raises(DataError, match=rf'photos/a\.x: .*{len(data)} bytes'):
        decode_image(data, 'photos/a.x')


def test_what_phones_append_to_a_jpeg_is_no_truncation():
    data = encoded('.jpg') + b'SEFT' + bytes(500)
    assert decode_image(data, 'a').shape == (30, 50, 3)


def test_the_thumbnail_of_a_truncated_jpeg_does_not_make_it_whole():
    thumbnail = encoded('.jpg', PICTURE[:8, :8])
    exif = b'\xff\xe1' + struct.pack('>H', 2 + len(thumbnail)) + thumbnail
    data = encoded('.jpg', NOISE)
    with pytest.raises(DataError, match='truncated'):
        decode_image(data[:2] + exif + data[2:len(data) // 2], 'a')


def test_a_png_that_claims_gigapixels_is_refused():
    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack(
            '>I', zlib.crc32(kind + body))
    header = struct.pack('>IIBBBBB', 200_000, 200_000, 8, 2, 0, 0, 0)
    data = (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
            + chunk(b'IDAT', zlib.compress(bytes(100))) + chunk(b'IEND', b''))
    with pytest.raises(DataError, match=r'a\.png'):
        decode_image(data, 'a.png')


@pytest.mark.parametrize('size_wh', [(60_000, 60_000), (60_000, -60_000)])
def test_a_bmp_that_claims_gigapixels_is_refused(size_wh):
    data = bytearray(encoded('.bmp'))
    data[18:26] = struct.pack('<ii', *size_wh)
    with pytest.raises(DataError, match=r'a\.bmp: its header has 60000 x 60000 pixels'):
        decode_image(bytes(data), 'a.bmp')


def test_formats_that_do_not_tell_their_size_in_time_are_refused():
    with pytest.raises(DataError, match=r'a\.ras: .*not JPEG, PNG, WebP, BMP, TIFF'):
        decode_image(encoded('.ras'), 'a.ras')


def test_sixteen_bits_become_eight():
    deep = PICTURE.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_image(encoded('.png', deep), 'a'), PICTURE)


def test_the_colours_of_printers_become_those_of_screens():
    image = need('PIL.Image')
    file = io.BytesIO()
    image.fromarray(PICTURE[..., ::-1]).convert('CMYK').save(file, 'JPEG', quality=95)
    pixels = decode_image(file.getvalue(), 'a')
    assert pixels.shape == (30, 50, 3)
    np.testing.assert_allclose(pixels[15, 45], [0, 0, 255], atol=8)


def test_a_file_of_gigabytes_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr('mbv2ssd_train.data.image_files.MAX_FILE_BYTES', 99)
    (tmp_path / 'a.png').write_bytes(bytes(100))
    with pytest.raises(DataError, match=r'a\.png: has 0\.0 GB; 0\.0 GB are allowed'):
        read_file(tmp_path / 'a.png')


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(DataError, match=r'a\.png: cannot be read'):
        read_file(tmp_path / 'a.png')


@pytest.mark.parametrize(('longest', 'expected'), [(40, (24, 40)), (50, (30, 50)), (99, (30, 50))])
def test_reduced_images_keep_their_aspect_ratio(longest, expected):
    assert reduce_image(PICTURE, longest).shape[:2] == expected


@pytest.fixture
def make(tmp_path):
    """Make a data set of one tree: name, then image id -> boxes."""
    def make(name, size_hw=(20, 40), annotated_hw=None, **images):
        for image_id, boxes in images.items():
            add_image(tmp_path / name, image_id, np.full((*size_hw, 3), 90, np.uint8),
                      [('bolt', box, 0) for box in boxes], annotated_hw)
        add_list(tmp_path / name, 'all', images)
        return open_dataset(tmp_path / name, 'all', CLASSES)
    return make


def test_an_image_of_another_size_than_annotated_is_refused(make):
    turned = make('d', size_hw=(20, 40), annotated_hw=(40, 20), a=[(1, 1, 9, 9)])
    with pytest.raises(DataError, match=r'a\.png: .*40 x 20 .*20 x 40'):
        turned.image(0)


def test_a_reduced_copy_is_accepted(make):
    # 640 x 427 reduced to 40 wide is 26.7 high
    assert make('d', size_hw=(27, 40), annotated_hw=(427, 640), a=[]).image(0).shape == (27, 40, 3)


def test_decoded_images_are_kept_where_asked(tmp_path, make):
    make('d', a=[])
    dataset = open_dataset(tmp_path / 'd', 'all', CLASSES, keep_decoded=True)
    first = dataset.image(0)
    (tmp_path / 'd/JPEGImages/a.png').unlink()
    assert dataset.image(0) is first


def test_what_does_not_fit_into_memory_is_read_again(tmp_path, make, monkeypatch):
    make('d', a=[], b=[])
    one_image = 20 * 40 * 3
    monkeypatch.setattr('mbv2ssd_train.data.dataset.KEEP_BYTES', one_image)
    monkeypatch.setattr('mbv2ssd_train.data.dataset._kept_bytes', {})
    first, second = (open_dataset(tmp_path / 'd', 'all', CLASSES, True) for _ in range(2))
    assert first.image(0) is first.image(0)
    assert first.image(1) is not first.image(1)
    assert second.image(0) is not second.image(0)  # all data sets share the memory


def test_processes_of_a_machine_share_its_memory():
    whole = memory_to_keep({})
    assert whole > 2 ** 20 and memory_to_keep({'LOCAL_WORLD_SIZE': '4'}) == whole // 4


def test_an_image_that_vanished_is_named(tmp_path, make):
    dataset = make('d', a=[])
    (tmp_path / 'd/JPEGImages/a.png').unlink()
    with pytest.raises(DataError, match=r'a\.png: cannot be read'):
        dataset.image(0)


def test_a_common_image_is_refused_by_name(make):
    train = make('d', a=[(1, 1, 9, 9)], b=[], c=[(2, 2, 9, 9)])
    with pytest.raises(DataError, match=r'2 images are both in the training data \(all\) and in '
                                        r'all: b, c;'):
        refuse_overlap([train], make('d', b=[], c=[(2, 2, 9, 9)], e=[]))


def test_a_copy_of_the_data_does_not_hide_a_common_image(make):
    with pytest.raises(DataError, match='1 images are both .*: a;'):
        refuse_overlap([make('d', a=[(1, 1, 9, 9)])], make('copy', a=[(1, 1, 9, 9)]))


def test_numbers_that_two_sites_both_count_from_one_are_no_common_image(make):
    site_a = make('site_a', i000001=[(1, 1, 9, 9)], i000002=[])
    site_b = make('site_b', i000001=[(5, 3, 30, 18)], i000002=[])
    refuse_overlap([site_a], site_b)


def test_different_images_are_accepted(make):
    refuse_overlap([make('d', a=[(1, 1, 9, 9)])], make('e', b=[(1, 1, 9, 9)]))
