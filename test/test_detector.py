"""
Images in, detections in source pixels out, with a model whose answers are known.

The tiny model sees 4 x 6 cells; a red cell is a sure 'red' at exactly that cell. So a painted cell
of the source image must come back as a box on its edges.
"""

import dataclasses

import numpy as np
import pytest

from helpers.tiny_model import COLUMNS, CONTRACT, ROWS, write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ShapeError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector, StageTimes

RED, GREEN = 1, 2
# (height, width); the first is a whole number of pixels a cell: 16 high, 24 wide
SOURCES_HW = [(64, 144), (481, 641), (641, 481), (37, 91), (1080, 1920)]
ORDERS = {'rgb': (0, 1, 2), 'bgr': (2, 1, 0), 'rgba': (0, 1, 2), 'bgra': (2, 1, 0)}


def backend_for(tmp_path, **changes):
    """Load the tiny model, with another contract where changes say so."""
    path = write_tiny_model(tmp_path / 'tiny.onnx', dataclasses.replace(CONTRACT, **changes))
    return open_backend('onnxruntime', path, BackendOptions())


@pytest.fixture
def backend(tmp_path):
    """Return the tiny model, which stretches."""
    return backend_for(tmp_path)


@pytest.fixture
def detector(backend):
    """Return a detector with default settings."""
    return Detector(backend)


class BatchBackend:
    """A backend that asks for batches, and may be set to fail."""

    name, detail, max_batch, max_concurrency = 'batch', 'for tests', 4, 1

    def __init__(self, backend):
        self._backend, self.contract = backend, backend.contract
        self.seen, self.failure, self.spoil = [], None, None

    def infer(self, images):
        """Run the network, after failing or before spoiling the outputs."""
        self.seen.append(len(images))
        if self.failure:
            raise self.failure
        boxes, scores = self._backend.infer(images)
        if self.spoil:
            self.spoil(boxes, scores)
        return boxes, scores

    def close(self):
        """Leave the shared model open."""


def cell_in(size_hw, row, column):
    """Edges of a cell in source pixels, not rounded."""
    height, width = size_hw
    return [width * column / COLUMNS, height * row / ROWS,
            width * (column + 1) / COLUMNS, height * (row + 1) / ROWS]


def painted(size_hw, cells, order='rgb'):
    """A black image with cells filled: {(row, column): (red, green, blue)}."""
    channels = 4 if order.endswith('a') else 3
    pixels = np.zeros((*size_hw, channels), np.uint8)
    pixels[..., 3:] = 77  # an alpha that must not matter
    for (row, column), colour in cells.items():
        x1, y1, x2, y2 = (round(edge) for edge in cell_in(size_hw, row, column))
        for channel, value in zip(ORDERS[order], colour, strict=True):
            pixels[y1:y2, x1:x2, channel] = value
    return SourceImage(pixels, order)


def found(detections):
    """Return {label: boxes} of a result, boxes in the order of the result."""
    return {int(label): detections.boxes_xyxy[detections.labels == label].tolist()
            for label in set(detections.labels.tolist())}


# one image

@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('size_hw', SOURCES_HW)
def test_a_painted_cell_is_found_at_its_edges(detector, size_hw, order):
    image = painted(size_hw, {(2, 4): (255, 0, 0), (0, 1): (0, 255, 0)}, order)
    result, = detector.detect([image])
    boxes = found(result)
    np.testing.assert_allclose(boxes[RED], [cell_in(size_hw, 2, 4)], rtol=1e-5)
    np.testing.assert_allclose(boxes[GREEN], [cell_in(size_hw, 0, 1)], rtol=1e-5)


def test_the_box_of_a_cell_of_24_by_16_pixels(detector):
    result, = detector.detect([painted((64, 144), {(2, 4): (255, 0, 0)})])
    np.testing.assert_allclose(result.boxes_xyxy, [[96, 32, 120, 48]], atol=1e-4)
    np.testing.assert_allclose(result.scores, [1], atol=1e-5)
    assert result.labels.tolist() == [RED]


def test_a_grey_cell_of_a_mono_image_is_as_red_as_green(detector):
    pixels = np.zeros((64, 144), np.uint8)
    pixels[32:48, 96:120] = 153  # 0.6 of 255
    result, = detector.detect([SourceImage(pixels, 'mono')])
    assert sorted(result.labels.tolist()) == [RED, GREEN]
    np.testing.assert_allclose(result.scores, [0.6, 0.6], atol=1e-5)
    np.testing.assert_allclose(result.boxes_xyxy, [[96, 32, 120, 48]] * 2, atol=1e-4)


def test_better_detections_come_first(detector):
    result, = detector.detect([painted((64, 144), {
        (0, 0): (130, 0, 0), (1, 1): (250, 0, 0), (2, 2): (0, 190, 0), (3, 3): (60, 0, 0)})])
    np.testing.assert_allclose(result.scores, np.array([250, 190, 130]) / 255, atol=1e-5)
    assert result.labels.tolist() == [RED, GREEN, RED]


def test_an_empty_scene_is_an_empty_result(detector):
    result, = detector.detect([painted((64, 144), {})])
    assert len(result) == 0 and result.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize('size_hw', [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_boxes_of_the_smallest_images_stay_inside(detector, size_hw):
    result, = detector.detect([SourceImage(np.full((*size_hw, 3), (255, 0, 0), np.uint8), 'rgb')])
    assert len(result) == ROWS * COLUMNS
    assert result.boxes_xyxy.min() == 0
    assert tuple(result.boxes_xyxy[:, 2:].max(axis=0)) == size_hw[::-1]


def test_the_source_stays_as_it_was(detector):
    image = painted((64, 144), {(2, 4): (255, 0, 0)}, 'bgr')
    before = image.pixels.copy()
    detector.detect([image])
    np.testing.assert_array_equal(image.pixels, before)


# letterbox: 32 x 96 becomes rows 8 to 24 of the 32 x 48 input, half the size

def letterboxed(tmp_path, **settings):
    """Return a detector that keeps the aspect ratio."""
    return Detector(backend_for(tmp_path, resize_mode='letterbox'), DetectionSettings(**settings))


def wide_image(box):
    """A black image, 96 wide and 32 high, with a red rectangle."""
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[box[1]:box[3], box[0]:box[2], 0] = 255
    return SourceImage(pixels, 'rgb')


def test_letterbox_maps_a_cell_back_to_where_it_was_painted(tmp_path):
    # the cell of row 1 (8 to 16) and column 3 (24 to 32): y 0 to 16, x 48 to 64 of the source
    result, = letterboxed(tmp_path, score_threshold=0.6).detect([wide_image((48, 0, 64, 16))])
    np.testing.assert_allclose(result.boxes_xyxy, [[48, 0, 64, 16]], atol=1e-4)


def test_what_lies_in_the_padding_only_is_no_detection(tmp_path):
    # the grey of the padding is 0.502 red and green: twelve cells, two classes
    result, = letterboxed(tmp_path, score_threshold=0.4).detect([wide_image((48, 0, 64, 16))])
    np.testing.assert_allclose(result.boxes_xyxy, [[48, 0, 64, 16]], atol=1e-4)
    assert result.labels.tolist() == [RED] and result.scores.shape == (1,)


def test_the_padding_of_one_frame_holds_nothing_of_the_one_before(tmp_path):
    detector = letterboxed(tmp_path, score_threshold=0.6)
    red = SourceImage(np.full((32, 48, 3), (255, 0, 0), np.uint8), 'rgb')
    assert len(detector.detect([red])[0]) == ROWS * COLUMNS
    assert len(detector.detect([wide_image((0, 0, 0, 0))])[0]) == 0


# one frame after the other

def test_a_frame_holds_nothing_of_the_one_before(detector):
    first, = detector.detect([painted((64, 144), {(0, 0): (255, 0, 0)})])
    second, = detector.detect([painted((481, 641), {(3, 5): (0, 255, 0)})])
    assert second.labels.tolist() == [GREEN]
    np.testing.assert_allclose(second.boxes_xyxy, [cell_in((481, 641), 3, 5)], rtol=1e-5)
    # and the first result, which its owner may still be publishing, is untouched
    np.testing.assert_allclose(first.boxes_xyxy, [[0, 0, 24, 16]], atol=1e-4)


def test_two_detectors_on_one_backend_do_not_meet(backend):
    one, two = Detector(backend), Detector(backend, DetectionSettings(score_threshold=0.9))
    image = painted((64, 144), {(0, 0): (150, 0, 0)})
    assert [len(d.detect([image])[0]) for d in (one, two, one)] == [1, 0, 1]


def test_each_stage_is_timed(detector):
    assert detector.last_times == StageTimes(0, 0, 0)
    detector.detect([painted((64, 144), {})])
    assert min(dataclasses.astuple(detector.last_times)) > 0


# batches

def test_a_batch_of_different_cameras_keeps_its_order(backend):
    batching = BatchBackend(backend)
    sizes = [(64, 144), (641, 481), (37, 91)]
    images = [painted(size, {(1, column): (255, 0, 0)}, order) for column, (size, order) in
              enumerate(zip(sizes, ('bgr', 'rgba', 'rgb'), strict=True))]
    results = Detector(batching).detect(images)
    assert batching.seen == [3]
    for column, (size, result) in enumerate(zip(sizes, results, strict=True)):
        np.testing.assert_allclose(result.boxes_xyxy, [cell_in(size, 1, column)], rtol=1e-5)


def test_a_smaller_batch_after_a_larger_one_has_only_its_own_images(backend):
    detector = Detector(BatchBackend(backend))
    image = painted((64, 144), {(0, 0): (255, 0, 0)})
    assert [len(r) for r in detector.detect([image] * 4)] == [1, 1, 1, 1]
    assert [len(r) for r in detector.detect([painted((64, 144), {})])] == [0]


@pytest.mark.parametrize('count', [0, 5])
def test_a_batch_of_another_size_is_refused(backend, count):
    batching = BatchBackend(backend)
    with pytest.raises(ShapeError, match=f'{count} images, expected 1 to 4'):
        Detector(batching).detect([painted((64, 144), {})] * count)
    assert batching.seen == []


# settings

def test_settings_take_effect_with_the_next_frame(detector):
    image = painted((64, 144), {(0, 0): (150, 0, 0), (1, 1): (0, 250, 0)})
    assert len(detector.detect([image])[0]) == 2
    detector.settings = DetectionSettings(score_threshold=0.9)
    assert detector.detect([image])[0].labels.tolist() == [GREEN]
    detector.settings = DetectionSettings(class_allow=frozenset(['red']))
    assert detector.detect([image])[0].labels.tolist() == [RED]
    assert detector.settings == DetectionSettings(class_allow=frozenset(['red']))


def test_settings_that_name_an_unknown_class_leave_the_old_ones_in_place(detector):
    with pytest.raises(ConfigError, match="class_allow: .*'blue'; it knows red, green"):
        detector.settings = DetectionSettings(class_allow=frozenset(['blue']))
    assert detector.settings == DetectionSettings()
    image = painted((64, 144), {(0, 0): (255, 0, 0)})
    assert len(detector.detect([image])[0]) == 1


def test_an_unknown_class_is_refused_when_the_detector_is_made(backend):
    with pytest.raises(ConfigError, match="class_thresholds: .*'blue'"):
        Detector(backend, DetectionSettings(class_thresholds=(('blue', 0.5),)))


def test_the_contract_is_the_backend_s(detector):
    assert detector.contract == CONTRACT


# failures

def test_a_failed_inference_passes_on_and_the_next_frame_is_fine(backend):
    batching = BatchBackend(backend)
    detector, image = Detector(batching), painted((64, 144), {(0, 0): (255, 0, 0)})
    batching.failure = BackendError('out of memory')
    with pytest.raises(BackendError, match='out of memory'):
        detector.detect([image])
    batching.failure = None
    assert len(detector.detect([image])[0]) == 1


def test_a_model_that_computes_nan_is_an_error_and_not_an_empty_scene(backend):
    def spoil(boxes, scores):
        scores[0, 5] = np.nan

    batching = BatchBackend(backend)
    batching.spoil = spoil
    with pytest.raises(BackendError, match='score of prior 5, .* is nan'):
        Detector(batching).detect([painted((64, 144), {})])
