"""Evaluation with a model whose answers are known."""

import dataclasses
import json
import math
import time

import cv2
import numpy as np
import pytest

from helpers.synthetic import add_image, add_list
from helpers.tiny_model import CELL_PX, CONTRACT, INPUT_SIZE_HW, write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.data.sources.packed import write_packed
from mbv2ssd_train.evaluate import detect_all, evaluate, summarise

CLASSES = ('red', 'green')
SETTINGS = DetectionSettings(score_threshold=0.5)


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    path = write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')
    return open_backend('onnxruntime', path, BackendOptions())


@pytest.fixture
def measure(backend, tmp_path):
    """Measure on images: id -> (cells painted by class, objects by class, difficult)."""
    def measure(**images):
        for image_id, (painted, objects) in images.items():
            pixels = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
            for name, row, column in painted:
                pixels[row * CELL_PX:(row + 1) * CELL_PX, column * CELL_PX:(column + 1) * CELL_PX,
                       {'red': 2, 'green': 1}[name]] = 255
            # an image twice as wide and three times as high as the network input
            add_image(tmp_path, image_id, cv2.resize(pixels, None, fx=2, fy=3,
                                                     interpolation=cv2.INTER_NEAREST),
                      [(name, (16 * column + 1, 24 * row + 1, 16 * column + 16, 24 * row + 24),
                        difficult) for name, row, column, difficult in objects])
        add_list(tmp_path, 'all', images)
        return evaluate(backend, open_dataset(tmp_path, 'all', CLASSES), SETTINGS)
    return measure


def test_everything_found_is_a_map_of_one(measure):
    result = measure(a=([('red', 1, 5), ('green', 3, 0)], [('red', 1, 5, 0), ('green', 3, 0, 0)]),
                     b=([('red', 0, 2)], [('red', 0, 2, 0)]))
    assert (result.map_50, result.map_50_11point, result.images) == (1, 1, 2)


def test_a_missed_and_a_false_object_by_hand(measure):
    # red: two objects, one found, no false one: half the area. green: all found.
    result = measure(a=([('red', 1, 5)], [('red', 1, 5, 0), ('red', 3, 3, 0)]),
                     b=([('green', 0, 2)], [('green', 0, 2, 0)]))
    assert result.curves[1].average_precision == 0.5
    assert result.map_50 == pytest.approx(0.75)


def test_difficult_objects_count_neither_way(measure):
    result = measure(a=([('red', 1, 5), ('red', 2, 2)], [('red', 1, 5, 1), ('red', 2, 2, 0)]),
                     b=([], [('red', 0, 0, 1)]))
    assert result.map_50 == 1 and result.curves[1].num_objects == 1


def test_a_class_without_objects_is_left_out_of_the_mean_and_null_in_json(measure):
    result = measure(a=([('red', 1, 5)], [('red', 1, 5, 0)]))
    found = json.loads(json.dumps(result.to_dict()))
    assert found['map_50'] == 1 and found['ap_50'] == {'red': 1.0, 'green': None}
    assert found['objects'] == {'red': 1, 'green': 0}
    assert (found['split'], found['images'], found['match_iou']) == ('all', 1, 0.5)


def test_more_images_than_threads_keep_their_ground_truth(measure):
    images = {f'i{k}': ([('red', k % 4, k % 6)], [('red', k % 4, k % 6, 0)]) for k in range(24)}
    assert measure(**images).map_50 == pytest.approx(1)


def test_images_without_objects_lower_precision(measure):
    result = measure(a=([('red', 1, 5)], [('red', 1, 5, 0)]), b=([('red', 2, 2)], []))
    assert result.curves[1].correct.sum() == 1 and len(result.curves[1].correct) == 2
    assert not math.isnan(result.map_50)


class Counting:
    """A backend that counts what it is asked."""

    def __init__(self, backend):
        self.contract, self.max_batch, self.max_concurrency = backend.contract, 1, 1
        self._backend, self.calls = backend, 0

    def infer(self, images):
        """Count and infer, with time for the other thread to stop it."""
        self.calls += 1
        time.sleep(0.01)
        return self._backend.infer(images)


@pytest.mark.parametrize('error', [DataError, KeyboardInterrupt])
def test_an_error_does_not_wait_for_the_other_images(backend, tmp_path, error):
    names = [f'i{k:03}' for k in range(60)]
    for name in names:
        add_image(tmp_path, name, np.zeros((8, 12, 3), np.uint8), [])
    add_list(tmp_path, 'all', names)
    counting = Counting(backend)

    def stop_at_the_third(items, total):
        for number, item in enumerate(items):
            if number == 2:
                raise error('stop')
            yield item

    with pytest.raises(error, match='stop'):
        evaluate(counting, open_dataset(tmp_path, 'all', CLASSES), SETTINGS, stop_at_the_third)
    assert counting.calls < 60


def test_other_classes_than_the_models_are_refused(backend, tmp_path):
    add_image(tmp_path, 'a', np.zeros((8, 12, 3), np.uint8), [])
    add_list(tmp_path, 'all', ['a'])
    with pytest.raises(ConfigError, match='knows red, green; the data set all .* bolt, nut'):
        evaluate(backend, open_dataset(tmp_path, 'all', ('bolt', 'nut')), SETTINGS)


def test_a_model_without_background_is_scored_under_its_own_labels(tmp_path):
    # the same outputs, but the first column is an object class like the others
    contract = dataclasses.replace(
        CONTRACT, class_names=('dark', 'red', 'green'), background_index=None)
    backend = open_backend('onnxruntime', write_tiny_model(tmp_path / 'm.onnx', contract),
                           BackendOptions())
    pixels = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
    pixels[:CELL_PX, CELL_PX:2 * CELL_PX, 2] = 255
    add_image(tmp_path, 'a', pixels, [('red', (9, 1, 16, 8), 0)])
    add_list(tmp_path, 'all', ['a'])
    result = evaluate(backend, open_dataset(tmp_path, 'all', contract.class_names), SETTINGS)
    assert result.to_dict()['ap_50'] == {'dark': None, 'red': 1.0, 'green': None}


def world(tmp_path, count, size_hw=(24, 96)):
    """Write images with one red cell each, in another place in each, and open them."""
    for k in range(count):
        pixels = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
        row, column = k % 4, k % 6
        pixels[row * CELL_PX:(row + 1) * CELL_PX, column * CELL_PX:(column + 1) * CELL_PX, 2] = 255
        left, top = column * size_hw[1] // 6, row * size_hw[0] // 4
        box = (left + 1, top + 1, left + size_hw[1] // 6, top + size_hw[0] // 4)
        add_image(tmp_path, f'i{k}', cv2.resize(pixels, size_hw[::-1],
                                                interpolation=cv2.INTER_NEAREST),
                  [('red', box, 0)])
    add_list(tmp_path, 'all', [f'i{k}' for k in range(count)])
    return open_dataset(tmp_path, 'all', CLASSES)


@pytest.mark.parametrize('processes', [1, 2, 3, 8])
def test_strided_shares_of_several_processes_measure_the_same(backend, tmp_path, processes):
    dataset = world(tmp_path, 7)
    shares = [list(detect_all(backend, dataset, SETTINGS,
                              indices=range(rank, len(dataset), processes)))
              for rank in range(processes)]
    together = summarise(dataset, [result for share in shares for result in share])
    alone = evaluate(backend, dataset, SETTINGS)
    assert together.to_dict() == alone.to_dict() and alone.map_50 == 1
    assert [result.name for result in together.results] == [f'i{k}' for k in range(7)]


def test_an_image_detected_twice_is_refused(backend, tmp_path):
    dataset = world(tmp_path, 2)
    results = list(detect_all(backend, dataset, SETTINGS))
    with pytest.raises(DataError, match=r'3 results for 2 images.*\[1\] duplicate'):
        summarise(dataset, [*results, results[1]])


def test_boxes_are_in_pixels_of_the_original_of_a_reduced_copy(backend, tmp_path):
    dataset = world(tmp_path / 'full', 1, size_hw=(240, 480))
    write_packed(dataset, tmp_path / 'packed', 'small', 'all', longest_px=48)
    reduced = open_dataset(tmp_path / 'packed', 'small', CLASSES)
    assert reduced.image(0).shape[:2] == (24, 48)
    result = next(detect_all(backend, reduced, SETTINGS))
    assert result.size_hw == (240, 480)
    np.testing.assert_allclose(result.truth.boxes_xyxy, [[0, 0, 80, 60]], atol=1e-4)
    np.testing.assert_allclose(result.detections.boxes_xyxy, [[0, 0, 80, 60]], atol=1e-4)
