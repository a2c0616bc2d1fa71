"""Resizing into the network input and mapping boxes back, seen on painted rectangles."""

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mbv2ssd_ros.core.errors import ConfigError, UnsupportedImageError
from mbv2ssd_ros.core.image import (
    ImageGeometry,
    LETTERBOX_GREY,
    MAX_SIDE_PX,
    resize_into,
    RESIZE_MODES,
    SourceImage,
)

SOURCES_HW = [(481, 641), (641, 481), (37, 91), (91, 37), (1080, 1920), (101, 100)]
INPUTS_HW = [(300, 300), (240, 320), (320, 192)]
ORDERS = ['rgb', 'bgr', 'rgba', 'bgra', 'mono']


def empty_slot(size_hw, value=0):
    """A place of a batch."""
    return np.full((*size_hw, 3), value, dtype=np.uint8)


def resized(image, mode, size_hw):
    """The network input as a new array, and the geometry."""
    slot = empty_slot(size_hw)
    return slot, resize_into(image, mode, slot)


def texture(size_hw, seed=0):
    """A smooth picture, different in every channel, of any size."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def in_order(rgb, order):
    """The same picture as a camera of that channel order has it, by indexing alone."""
    alpha = np.random.default_rng(9).integers(0, 256, (*rgb.shape[:2], 1), dtype=np.uint8)
    return {'rgb': rgb, 'bgr': rgb[:, :, ::-1].copy(), 'mono': rgb[:, :, 0].copy(),
            'rgba': np.concatenate([rgb, alpha], axis=2),
            'bgra': np.concatenate([rgb[:, :, ::-1], alpha], axis=2)}[order]


def painted(size_hw, box):
    """A black image with one pure red rectangle; the grey of a letterbox is not red."""
    pixels = np.zeros((*size_hw, 3), dtype=np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2, 0] = 255
    return SourceImage(pixels, 'rgb')


def red_box(network_input):
    """Normalised xyxy of what is more red than not."""
    red = network_input[:, :, 0].astype(int) - network_input[:, :, 1] > 127
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    height, width = red.shape
    return np.array([[columns[0] / width, rows[0] / height,
                      (columns[-1] + 1) / width, (rows[-1] + 1) / height]], dtype=np.float32)


def assert_painted_box_comes_back(source_hw, input_hw, mode, box):
    """Find the rectangle in the network input and map it back, to half a network pixel."""
    network_input, geometry = resized(painted(source_hw, box), mode, input_hw)
    back = geometry.to_source_pixels(red_box(network_input))[0]
    network_pixel = np.divide(source_hw, geometry.placed_size_hw)[::-1]  # x, y, source pixels
    # the 1/50 is for the fixed point arithmetic of cv2
    limit = (0.5 + 0.02) * np.tile(network_pixel, 2) + 0.02
    assert (np.abs(back - box) <= limit).all(), f'{back} for {box}'


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('input_hw', INPUTS_HW)
@pytest.mark.parametrize('source_hw', SOURCES_HW)
def test_a_painted_rectangle_comes_back_to_half_a_network_pixel(source_hw, input_hw, mode):
    height, width = source_hw
    box = (width // 7, height // 3, width // 2, height - height // 9)
    assert_painted_box_comes_back(source_hw, input_hw, mode, box)


@settings(deadline=None, max_examples=60)
@given(source_hw=st.tuples(st.integers(30, 400), st.integers(30, 400)),
       input_hw=st.sampled_from(INPUTS_HW), mode=st.sampled_from(RESIZE_MODES), data=st.data())
def test_any_large_rectangle_comes_back_to_half_a_network_pixel(source_hw, input_hw, mode, data):
    height, width = source_hw
    # a third of each side: still some network pixels where a letterbox makes the image small
    x1, y1 = data.draw(st.integers(0, width * 2 // 3)), data.draw(st.integers(0, height * 2 // 3))
    box = (x1, y1, data.draw(st.integers(x1 + width // 3, width)),
           data.draw(st.integers(y1 + height // 3, height)))
    assert_painted_box_comes_back(source_hw, input_hw, mode, box)


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('source_hw', [(97, 141), (299, 133), (240, 300)])
def test_the_box_of_a_flipped_image_is_the_flipped_box_to_half_a_pixel(source_hw, axis, mode):
    # no source is larger than the network input: a network pixel is a source pixel at most
    height, width = source_hw
    x1, y1, x2, y2 = box = (width // 7, height // 3, width // 2, height - height // 9)
    pixels = np.flip(painted(source_hw, box).pixels, axis).copy()
    network_input, geometry = resized(SourceImage(pixels, 'rgb'), mode, (300, 300))
    flipped = ((x1, height - y2, x2, height - y1), (width - x2, y1, width - x1, y2))[axis]
    np.testing.assert_allclose(
        geometry.to_source_pixels(red_box(network_input))[0], flipped, atol=0.5 + 0.02)


# geometry, worked out by hand

def test_stretch_scales_each_axis_by_itself():
    geometry = ImageGeometry((480, 640), (300, 300), 'stretch')
    np.testing.assert_allclose(
        geometry.to_source_pixels(np.array([[0.25, 0.5, 0.75, 1]], np.float32)),
        [[160, 240, 480, 480]])


def test_letterbox_of_a_wide_image_pads_above_and_below():
    geometry = ImageGeometry((480, 640), (300, 300), 'letterbox')
    assert geometry.placed_size_hw == (225, 300)  # 300 / 640 of each side
    assert geometry.offset_hw == (37, 0)  # half of the 75 that are left, rounded down
    # rows 37 to 262 hold the image; the whole input reaches above and below it
    np.testing.assert_allclose(geometry.to_source_pixels(
        np.array([[0, 37 / 300, 1, 262 / 300], [0, 0, 0.5, 1]], np.float32)),
        [[0, 0, 640, 480], [0, 0, 320, 480]], atol=1e-4)


def test_letterbox_of_a_tall_image_pads_left_and_right():
    geometry = ImageGeometry((400, 100), (200, 300), 'letterbox')
    assert geometry.placed_size_hw == (200, 50)
    assert geometry.offset_hw == (0, 125)
    np.testing.assert_allclose(
        geometry.to_source_pixels(np.array([[150 / 300, 0.5, 1, 0.75]], np.float32)),
        [[50, 200, 100, 300]], atol=1e-4)


def test_letterbox_pads_with_grey_around_the_image():
    white = SourceImage(np.full((10, 40, 3), 255, np.uint8), 'rgb')
    network_input, geometry = resized(white, 'letterbox', (30, 20))
    assert (geometry.placed_size_hw, geometry.offset_hw) == ((5, 20), (12, 0))
    assert (network_input[12:17] == 255).all()
    assert LETTERBOX_GREY == 128  # what training pads with
    assert (network_input[:12] == 128).all()
    assert (network_input[17:] == 128).all()


def test_letterbox_of_the_same_aspect_ratio_is_the_stretch():
    image = SourceImage(texture((480, 640)), 'rgb')
    stretched, _ = resized(image, 'stretch', (240, 320))
    boxed, geometry = resized(image, 'letterbox', (240, 320))
    assert geometry.offset_hw == (0, 0)
    np.testing.assert_array_equal(boxed, stretched)


def test_a_box_in_the_padding_is_cut_to_no_area():
    geometry = ImageGeometry((480, 640), (300, 300), 'letterbox')
    above = geometry.to_source_pixels(np.array([[0.2, 0, 0.4, 0.1]], np.float32))
    np.testing.assert_allclose(above, [[128, 0, 256, 0]], atol=1e-3)


def test_boxes_that_reach_outside_are_cut_at_width_and_height():
    geometry = ImageGeometry((480, 640), (300, 300), 'stretch')
    np.testing.assert_array_equal(
        geometry.to_source_pixels(np.array([[-1, -1, 2, 2]], np.float32)), [[0, 0, 640, 480]])


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('input_hw', INPUTS_HW)
@pytest.mark.parametrize('source_hw', [*SOURCES_HW, (1, 1), (1, MAX_SIDE_PX), (MAX_SIDE_PX, 3)])
def test_there_and_back_is_where_one_started(source_hw, input_hw, mode):
    rng, geometry = np.random.default_rng(1), ImageGeometry(source_hw, input_hw, mode)
    boxes = np.sort(rng.random((50, 2, 2)), axis=1).reshape(50, 4) * np.tile(source_hw[::-1], 2)
    boxes[0] = 0, 0, source_hw[1], source_hw[0]
    network = geometry.to_network(boxes)
    assert network.min() >= 0 and network.max() <= 1 + 1e-6
    # float32 has 24 bits: 1e-6 of the padded side in source pixels
    padded = max(np.divide(input_hw, geometry.placed_size_hw) * source_hw)
    np.testing.assert_allclose(
        geometry.to_source_pixels(network), boxes, rtol=0, atol=1e-6 * padded)


@pytest.mark.parametrize('mode', RESIZE_MODES)
def test_no_box_stays_no_box(mode):
    geometry = ImageGeometry((480, 640), (300, 300), mode)
    back = geometry.to_source_pixels(np.empty((0, 4), np.float32))
    assert back.shape == (0, 4) and back.dtype == np.float32


def test_an_unknown_resize_mode_is_refused():
    with pytest.raises(ConfigError, match="resize_mode is 'crop', expected .*stretch, letterbox"):
        resized(SourceImage(texture((48, 64)), 'rgb'), 'crop', (30, 30))


# pixels

@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('order', ['bgr', 'rgba', 'bgra'])
@pytest.mark.parametrize('source_hw', [(481, 641), (37, 91), (240, 320)])
def test_every_channel_order_gives_the_same_rgb(source_hw, order, mode):
    rgb = texture(source_hw)
    expected, _ = resized(SourceImage(rgb, 'rgb'), mode, (240, 320))
    found, _ = resized(SourceImage(in_order(rgb, order), order), mode, (240, 320))
    # cv2 may round three and four channels on different paths: one step of 255
    np.testing.assert_allclose(found.astype(int), expected, atol=1)


@pytest.mark.parametrize('mode', RESIZE_MODES)
def test_mono_is_grey_in_all_three_channels(mode):
    rgb = texture((481, 641))
    expected, _ = resized(SourceImage(rgb, 'rgb'), mode, (240, 320))
    found, _ = resized(SourceImage(in_order(rgb, 'mono'), 'mono'), mode, (240, 320))
    np.testing.assert_allclose(found[:, :, 0].astype(int), expected[:, :, 0], atol=1)
    np.testing.assert_array_equal(found, found[:, :, :1].repeat(3, axis=2))


@pytest.mark.parametrize('order', ORDERS)
def test_an_image_of_the_network_size_arrives_pixel_for_pixel(order):
    rgb = np.random.default_rng(2).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    found, _ = resized(SourceImage(in_order(rgb, order), order), 'stretch', (24, 32))
    np.testing.assert_array_equal(
        found, rgb[:, :, :1].repeat(3, axis=2) if order == 'mono' else rgb)


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('source_hw', [(37, 91), (91, 37), (240, 320)])
def test_nothing_of_the_slot_is_left_and_nothing_beside_it_is_touched(source_hw, order, mode):
    image = SourceImage(in_order(texture(source_hw), order), order)
    batches = [np.full((3, 240, 320, 3), value, dtype=np.uint8) for value in (7, 201)]
    for batch in batches:
        resize_into(image, mode, batch[1])
    np.testing.assert_array_equal(batches[0][1], batches[1][1])
    for batch, value in zip(batches, (7, 201), strict=True):
        assert (batch[[0, 2]] == value).all()


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('order', ORDERS)
def test_a_read_only_view_with_padded_rows_is_enough(order, mode):
    # as a message has it: bytes, each row longer than the image
    pixels = in_order(texture((37, 91)), order)
    tail = pixels.shape[2:]
    rows = np.concatenate([pixels, np.full((37, 5, *tail), 255, np.uint8)], axis=1).tobytes()
    view = np.frombuffer(rows, np.uint8).reshape(37, 96, *tail)[:, :91]
    expected, _ = resized(SourceImage(pixels, order), mode, (240, 320))
    found, _ = resized(SourceImage(view, order), mode, (240, 320))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('order', ORDERS)
def test_the_source_stays_as_it_was(order, mode):
    pixels = in_order(texture((37, 91)), order)
    before = pixels.copy()
    resized(SourceImage(pixels, order), mode, (240, 320))
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize('order', ORDERS)
def test_a_mirrored_image_gives_a_mirrored_input(order):
    pixels = in_order(texture((480, 640)), order)
    straight, _ = resized(SourceImage(pixels, order), 'stretch', (240, 320))
    mirrored, _ = resized(SourceImage(pixels[:, ::-1], order), 'stretch', (240, 320))
    np.testing.assert_allclose(mirrored[:, ::-1].astype(int), straight, atol=1)


# limits

@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('mode', RESIZE_MODES)
def test_one_pixel_fills_the_input_or_its_largest_square(mode, order):
    pixel = np.full((1, 1, 3), 200, np.uint8)
    network_input, geometry = resized(SourceImage(in_order(pixel, order), order), mode, (30, 50))
    top, left = geometry.offset_hw
    height, width = geometry.placed_size_hw
    assert (height, width) == ((30, 50) if mode == 'stretch' else (30, 30))
    assert (network_input[top:top + height, left:left + width] == 200).all()


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('source_hw', [(1, MAX_SIDE_PX), (MAX_SIDE_PX, 1), (2, 5000)])
def test_a_line_of_pixels_keeps_at_least_one_of_them(source_hw, mode, order):
    line = np.full((*source_hw, 3), 200, np.uint8)
    network_input, geometry = resized(SourceImage(in_order(line, order), order), mode, (30, 50))
    if mode == 'letterbox':
        assert geometry.placed_size_hw == ((1, 50) if source_hw[0] < source_hw[1] else (30, 1))
    assert np.count_nonzero(network_input == 200) == 3 * np.prod(geometry.placed_size_hw)


def test_the_longest_line_is_sampled_over_its_whole_length():
    ramp = np.linspace(0, 255, MAX_SIDE_PX).astype(np.uint8)[None, :, None].repeat(3, axis=2)
    network_input, _ = resized(SourceImage(ramp, 'rgb'), 'stretch', (3, 51))
    # column i is the middle of the i-th of 51 parts, each of 5 steps
    np.testing.assert_allclose(network_input[0, :, 0], np.arange(51) * 5 + 2.5, atol=1)


@pytest.mark.parametrize(('shape', 'order', 'message'), [
    ((48, 64, 3), 'yuv', "channel order 'yuv' is not one of rgb, bgr, rgba, bgra, mono"),
    ((48, 64, 4), 'rgb', r'rgb pixels must be uint8 \(height, width, 3\), found .*\(48, 64, 4\)'),
    ((48, 64), 'bgr', r'bgr pixels .*\(height, width, 3\), found uint8 \(48, 64\)'),
    ((48, 64, 3), 'bgra', r'bgra pixels .*\(height, width, 4\), found uint8 \(48, 64, 3\)'),
    ((48, 64, 1), 'mono', r'mono pixels .*\(height, width\), found uint8 \(48, 64, 1\)'),
    ((64,), 'mono', r'\(height, width\), found uint8 \(64,\)'),
    ((0, 64, 3), 'rgb', 'an image of 64 x 0 pixels cannot be resized'),
    ((48, 0), 'mono', 'an image of 0 x 48 pixels cannot be resized'),
    ((2, 32767, 3), 'rgb', 'an image of 32767 x 2 pixels .*must be 1 to 32766'),
    ((32767, 2), 'mono', 'an image of 2 x 32767 pixels .*must be 1 to 32766'),
])
def test_an_image_that_cannot_be_used_is_refused(shape, order, message):
    with pytest.raises(UnsupportedImageError, match=message):
        SourceImage(np.zeros(shape, np.uint8), order)


def test_pixels_of_more_than_8_bits_are_refused():
    with pytest.raises(UnsupportedImageError, match=r'must be uint8 .*found uint16 \(48, 64\)'):
        SourceImage(np.zeros((48, 64), np.uint16), 'mono')
