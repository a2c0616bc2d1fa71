"""Drawn pictures, checked pixel by pixel where a pixel can be worked out."""

import numpy as np
import pytest

from mbv2ssd_ros.core.drawing import bgr_pixels, class_colour, draw_detections
from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_ros.core.image import SourceImage

BLACK = np.zeros((120, 400, 3), dtype=np.uint8)  # not square: rows are y


def draw(boxes, names, image=BLACK):
    """Draw boxes with a score of 0.5."""
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return draw_detections(image, boxes, np.full(len(boxes), 0.5, np.float32), names)


def test_a_box_edge_has_the_colour_of_its_class_and_the_middle_keeps_the_image():
    drawn = draw([[300, 40, 380, 100]], ['cat'])
    assert tuple(drawn[70, 300]) == class_colour('cat')  # left edge, half way down
    assert tuple(drawn[99, 340]) == class_colour('cat')  # bottom: the last row inside the box
    assert tuple(drawn[70, 340]) == (0, 0, 0)
    assert tuple(drawn[40, 120]) == (0, 0, 0)  # where a swap of x and y would draw


def test_the_image_of_the_caller_stays_as_it_was():
    image = BLACK.copy()
    assert draw([[0, 0, 400, 120]], ['cat'], image).any()
    assert not image.any()


def test_nothing_detected_gives_an_equal_copy():
    drawn = draw([], [])
    np.testing.assert_array_equal(drawn, BLACK)
    assert drawn is not BLACK


def test_the_first_detection_is_on_top():
    drawn = draw([[100, 40, 200, 100]] * 2, ['dog', 'cat'])
    assert tuple(drawn[70, 100]) == class_colour('dog')


def test_the_label_stands_above_the_box():
    drawn = draw([[100, 60, 200, 100]], ['cat'])
    strip = (drawn[:60, 100:200] == class_colour('cat')).all(axis=2)
    assert strip.sum() > 200
    assert strip.any(axis=1).argmax() > 20  # and right above it, not at the top of the image


@pytest.mark.parametrize('box', [
    [0, 0, 50, 30], [395, 0, 400, 5], [380, 100, 400, 120], [0, 118, 400, 120], [0, 0, 400, 120]])
def test_the_whole_label_is_inside_the_image_wherever_the_box_is(box):
    reference = draw([[100, 60, 101, 61]], ['cat'])  # far from every border
    strip = (reference == class_colour('cat')).all(axis=2)
    width, height = np.ptp(np.nonzero(strip)[1]) + 1, np.ptp(np.nonzero(strip)[0]) + 1
    drawn = draw([box], ['cat'])
    # the area of the strip and its text, however the box hides or adds to it
    assert (drawn.any(axis=2)).sum() >= 0.95 * width * (height - 2)


def test_lines_grow_with_the_image():
    def line_px(side):
        image = np.zeros((side, 2 * side, 3), dtype=np.uint8)
        drawn = draw([[0.2 * side, 0.3 * side, 1.2 * side, 0.9 * side]], ['cat'], image)
        return int(drawn[round(0.6 * side), :side].any(axis=1).sum())
    assert line_px(240) < line_px(1080)


def test_classes_of_voc_animals_can_be_told_apart():
    names = ['bird', 'cat', 'cow', 'dog', 'horse', 'sheep', 'person']
    assert len({class_colour(name) for name in names}) == len(names)


@pytest.mark.parametrize(('image', 'found'), [
    (np.zeros((4, 6), np.uint8), r'uint8 \(4, 6\)'),
    (np.zeros((4, 6, 3), np.float32), r'float32 \(4, 6, 3\)')])
def test_another_kind_of_image_is_refused_with_what_it_is(image, found):
    with pytest.raises(ShapeError, match=found):
        draw([], [], image)


def test_a_missing_name_is_refused():
    with pytest.raises(ShapeError, match='2 boxes, 2 scores and 1 names'):
        draw([[0, 0, 1, 1], [0, 0, 2, 2]], ['cat'])


@pytest.mark.parametrize(('order', 'pixel', 'bgr'), [
    ('bgr', (1, 2, 3), (1, 2, 3)), ('rgb', (1, 2, 3), (3, 2, 1)),
    ('rgba', (1, 2, 3, 9), (3, 2, 1)), ('bgra', (1, 2, 3, 9), (1, 2, 3)), ('mono', 7, (7, 7, 7))])
def test_every_channel_order_becomes_bgr(order, pixel, bgr):
    pixels = np.empty((2, 5, *np.shape(pixel)), dtype=np.uint8)
    pixels[:] = pixel
    turned = bgr_pixels(SourceImage(pixels, order))
    assert turned.shape == (2, 5, 3)
    assert tuple(turned[1, 4]) == bgr


def test_rows_with_padding_can_be_drawn_on():
    padded = np.zeros((100, 700), np.uint8)
    view = np.ndarray((100, 200, 3), np.uint8, padded, strides=(700, 3, 1))
    drawn = draw_detections(view, np.array([[40, 30, 120, 90]], np.float32), np.array([0.5]),
                            ['cat'])
    assert drawn.any() and not padded.any()


@pytest.mark.parametrize('size_hw', [(1, 1), (3, 500)])
def test_tiny_images_can_be_drawn_on(size_hw):
    box = np.array([[0, 0, size_hw[1], size_hw[0]]], np.float32)
    drawn = draw_detections(np.zeros((*size_hw, 3), np.uint8), box, np.array([1.0]), ['cat'])
    assert drawn.shape == (*size_hw, 3)


def test_the_id_of_a_track_is_written_between_name_and_score(monkeypatch):
    texts = []
    monkeypatch.setattr('mbv2ssd_ros.core.drawing._draw_label',
                        lambda _image, _corner, text, _colour: texts.append(text))
    boxes = np.array([[5, 5, 40, 40], [50, 5, 90, 40]], np.float32)
    draw_detections(np.zeros((60, 100, 3), np.uint8), boxes, np.array([0.9, 0.5], np.float32),
                    ['cat', 'dog'], ['12', ''])
    assert sorted(texts) == ['cat #12 0.90', 'dog 0.50']
