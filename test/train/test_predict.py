"""Predictions as files."""

import json

import cv2
import numpy as np
import pytest
from tiny_model import CELL_PX, COLUMNS, INPUT_SIZE_HW, ROWS, write_tiny_model

from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.predict import find_images, predict


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    path = write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')
    return open_backend('onnxruntime', path, BackendOptions())


def picture(path, red=(), green=(), scale=2):
    """Write an image of the model's grid, some cells red, some green."""
    pixels = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
    for cells, channel in ((red, 2), (green, 1)):
        for row, column in cells:
            pixels[row * CELL_PX:(row + 1) * CELL_PX,
                   column * CELL_PX:(column + 1) * CELL_PX, channel] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels.repeat(scale, axis=0).repeat(scale, axis=1))
    return path


def run(backend, paths, output):
    return predict(backend, paths, DetectionSettings(score_threshold=0.9), output,
                   lambda items, total: items)


def test_boxes_are_in_pixels_of_each_image(backend, tmp_path):
    path = picture(tmp_path / 'a.png', red=[(1, 5)], green=[(3, 0)])
    found = run(backend, [path], tmp_path / 'out')
    by_label = {item['label']: item for item in found['a.png']}
    # cells of 16 pixels in an image twice the size of the network input
    np.testing.assert_allclose(by_label['red']['box_xyxy'], [80, 16, 96, 32], atol=0.01)
    np.testing.assert_allclose(by_label['green']['box_xyxy'], [0, 48, 16, 64], atol=0.01)
    assert len(found['a.png']) == 2 and by_label['red']['score'] > 0.9


def test_pictures_and_json_are_written(backend, tmp_path):
    paths = [picture(tmp_path / 'in' / name, red=[(0, 0)]) for name in ('a.png', 'b.bmp')]
    found = run(backend, paths, tmp_path / 'deep' / 'out')
    assert sorted(path.name for path in (tmp_path / 'deep' / 'out').iterdir()) == [
        'a.png', 'b.png', 'detections.json']
    assert json.loads((tmp_path / 'deep/out/detections.json').read_text()) == found
    drawn = cv2.imread(str(tmp_path / 'deep/out/a.png'))
    assert drawn.shape == (2 * ROWS * CELL_PX, 2 * COLUMNS * CELL_PX, 3)
    assert (drawn != cv2.imread(str(paths[0]))).any()


def test_an_image_with_nothing_is_listed_with_nothing(backend, tmp_path):
    assert run(backend, [picture(tmp_path / 'a.png')], tmp_path / 'out') == {'a.png': []}


def test_an_input_is_never_overwritten(backend, tmp_path):
    path = picture(tmp_path / 'a.png', red=[(0, 0)])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r'a\.png is an input and would be overwritten'):
        run(backend, [path], tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize('names', [('a.png', 'a.jpg'), ('x/a.png', 'y/a.png')])
def test_two_inputs_with_one_copy_are_refused_before_anything_is_written(
        backend, tmp_path, names):
    paths = [picture(tmp_path / name) for name in names]
    with pytest.raises(DataError, match=r'another input would have the same annotated copy'):
        run(backend, paths, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_broken_image_is_named(backend, tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.raises(DataError, match=r'a\.jpg: does not decode'):
        run(backend, [tmp_path / 'a.jpg'], tmp_path / 'out')


def test_folders_are_taken_in_the_order_of_names(tmp_path):
    for name in ('b.JPG', 'a.png', 'notes.txt', 'c.webp'):
        (tmp_path / name).touch()
    assert [path.name for path in find_images([tmp_path])] == ['a.png', 'b.JPG', 'c.webp']


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(DataError, match='nothing: no such file or folder'):
        find_images([tmp_path / 'nothing'])


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(DataError, match=f'{tmp_path}: no image with a suffix of .jpg'):
        find_images([tmp_path])
