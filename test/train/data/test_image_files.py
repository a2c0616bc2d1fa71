"""Sizes and EXIF turns of image files, compared with Pillow."""

import io

import numpy as np
from PIL import Image, ImageOps
import pytest

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.image_files import decode_image, header_of, image_size_hw

GRID = (np.mgrid[:24, :40].sum(0) * 3).astype(np.uint8)  # no two corners are alike


def encoded(form, turn=1, shape=(24, 40)):
    image = Image.fromarray(np.dstack([GRID] * 3)[:shape[0], :shape[1]])
    exif = Image.Exif()
    exif[274] = turn
    file = io.BytesIO()
    options = {'lossless': True} if form == 'WEBP' else {'quality': 100} if form == 'JPEG' else {}
    image.save(file, form, **({} if form in ('BMP', 'PPM') else {'exif': exif}), **options)
    return file.getvalue()


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'PPM'])
def test_size_and_pixels_of_each_format(form):
    assert header_of(encoded(form), 'x') == ((24, 40), 1)
    np.testing.assert_allclose(decode_image(encoded(form), 'x')[..., 0], GRID, atol=3)


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('shape', [(24, 40), (24, 24)])
def test_an_exif_turn_is_applied_as_viewers_do(form, turn, shape):
    data = encoded(form, turn, shape)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert header_of(data, 'x') == (shape, turn)
    assert image_size_hw(data, 'x') == wanted.shape[:2]
    np.testing.assert_allclose(decode_image(data, 'x'), wanted, atol=3)


@pytest.mark.parametrize(('data', 'name'), [
    (b'GIF89a' + bytes(20), 'GIF'), (b'\0\0\0\x18ftypheic' + bytes(20), 'HEIC')])
def test_other_formats_are_named(data, name):
    with pytest.raises(DataError, match=f'x: {name} is not read; convert'):
        decode_image(data, 'x')


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_a_torn_exif_is_no_traceback(form):
    data = bytearray(encoded(form, 6))
    for place in range(0, min(len(data), 400), 3):
        torn = bytes(data[:place]) + b'\xff\xff' + bytes(data[place + 2:])
        try:
            decode_image(torn, 'x')
        except DataError as err:
            assert str(err).startswith('x: ')
