"""Boxes drawn for people."""

import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='needs ROS 2')
from mbv2ssd_ros.core.detections import Detections  # noqa: E402
from mbv2ssd_ros.core.image import SourceImage  # noqa: E402
from mbv2ssd_ros.ros.debug_image import class_colour, draw  # noqa: E402

ONE = Detections(np.array([[40, 30, 120, 90]], np.float32), np.array([0.5], np.float32),
                 np.array([1], np.intp))
NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.intp))
NAMES = ('background', 'cat')


def test_the_border_of_a_box_has_the_colour_of_its_class():
    picture = draw(SourceImage(np.zeros((100, 200, 3), np.uint8), 'bgr'), ONE, NAMES)
    assert picture.shape == (100, 200, 3)
    for y, x in ((90, 80), (60, 40), (60, 120)):
        assert tuple(picture[y, x]) == class_colour(1)
    assert not picture[60, 80].any()  # inside
    assert not picture[:, 130:].any()  # outside


@pytest.mark.parametrize(('order', 'red'), [
    ('bgr', (0, 0, 255)), ('rgb', (255, 0, 0)), ('bgra', (0, 0, 255, 9)),
    ('rgba', (255, 0, 0, 9))])
def test_colours_are_right_whatever_the_order(order, red):
    pixels = np.tile(np.array(red, np.uint8), (4, 6, 1))
    assert draw(SourceImage(pixels, order), NONE, NAMES)[2, 3].tolist() == [0, 0, 255]


def test_grey_becomes_colour():
    picture = draw(SourceImage(np.full((4, 6), 7, np.uint8), 'mono'), NONE, NAMES)
    assert picture[2, 3].tolist() == [7, 7, 7]


def test_the_image_itself_is_not_drawn_on():
    pixels = np.zeros((100, 200, 3), np.uint8)
    draw(SourceImage(pixels, 'bgr'), ONE, NAMES)
    assert not pixels.any()


def test_rows_with_padding_can_be_drawn_on():
    padded = np.zeros((100, 700), np.uint8)
    view = np.ndarray((100, 200, 3), np.uint8, padded, strides=(700, 3, 1))
    assert draw(SourceImage(view, 'bgr'), ONE, NAMES).any()


@pytest.mark.parametrize('size_hw', [(1, 1), (3, 500)])
def test_tiny_images_can_be_drawn_on(size_hw):
    height, width = size_hw
    box = np.array([[0, 0, width, height]], np.float32)
    one = Detections(box, np.array([1.0], np.float32), np.array([1], np.intp))
    image = SourceImage(np.zeros((height, width, 3), np.uint8), 'bgr')
    assert draw(image, one, NAMES).shape == (height, width, 3)


def test_neighbouring_classes_differ():
    colours = [np.array(class_colour(label)) for label in range(21)]
    for one, next_one in zip(colours, colours[1:], strict=False):
        assert np.abs(one - next_one).max() > 60
