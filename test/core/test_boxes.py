"""Box arithmetic against values worked out by hand and a loop over pairs."""

import numpy as np
import pytest

from mbv2ssd_ros.core.boxes import (
    box_area,
    clip_boxes,
    cxcywh_to_xyxy,
    intersection_area,
    iou_matrix,
    xyxy_to_cxcywh,
)

# 4 wide and 2 high at (1, 5): width, height, x and y cannot be mistaken for each other
WIDE_XYXY = np.array([[1.0, 5.0, 5.0, 7.0]])


def random_boxes(rng, count):
    """Boxes with their corners in order, in [0, 1]."""
    return np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)


def slow_iou(a, b):
    """IoU of two boxes, one number at a time."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def test_centre_and_size_of_a_wide_box():
    np.testing.assert_array_equal(xyxy_to_cxcywh(WIDE_XYXY), [[3, 6, 4, 2]])


def test_corners_of_a_wide_box():
    np.testing.assert_array_equal(cxcywh_to_xyxy(np.array([[3.0, 6.0, 4.0, 2.0]])), WIDE_XYXY)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('shape', [(0,), (64,), (2, 3, 5)])
def test_corners_invert_centre_and_size(seed, shape):
    boxes = random_boxes(np.random.default_rng(seed), int(np.prod(shape))).reshape(*shape, 4)
    np.testing.assert_allclose(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes, atol=1e-12)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('function', [xyxy_to_cxcywh, cxcywh_to_xyxy, box_area, clip_boxes])
def test_the_dtype_of_the_argument_is_kept(function, dtype):
    assert function(WIDE_XYXY.astype(dtype)).dtype == dtype


@pytest.mark.parametrize(('box', 'area'), [
    ([1, 5, 5, 7], 8),
    ([1, 5, 1, 7], 0),  # no width
    ([5, 5, 1, 7], 0),  # corners in the wrong order
    ([5, 7, 1, 5], 0),  # both pairs wrong: minus times minus must not become 8
])
def test_area(box, area):
    assert box_area(np.array(box, dtype=np.float32)) == area


def test_intersection_has_a_row_for_each_box_of_the_first_set():
    others = np.array([[0, 0, 2, 6], [4, 0, 9, 9], [5, 5, 6, 7]], dtype=np.float64)
    np.testing.assert_array_equal(intersection_area(WIDE_XYXY, others), [[1, 2, 0]])


def test_iou_of_half_covered_equal_boxes_is_a_third():
    a, b = np.array([[0.0, 0.0, 4.0, 2.0]]), np.array([[2.0, 0.0, 6.0, 2.0]])
    assert iou_matrix(a, b)[0, 0] == pytest.approx(1 / 3)


def test_iou_of_boxes_that_touch_is_0():
    assert iou_matrix(np.array([[0.0, 0, 1, 2]]), np.array([[1.0, 0, 2, 2]]))[0, 0] == 0


def test_iou_of_a_point_with_itself_is_0_not_nan():
    point = np.array([[0.5, 0.25, 0.5, 0.25]])
    assert iou_matrix(point, point)[0, 0] == 0


def test_a_box_with_its_corners_in_the_wrong_order_shares_nothing():
    whole, inverted = np.array([[0.0, 0, 1, 1]]), np.array([[0.8, 0.2, 0.3, 0.9]])
    assert iou_matrix(whole, inverted)[0, 0] == 0


@pytest.mark.parametrize('shape', [(0, 3), (3, 0), (0, 0)])
def test_iou_without_boxes_is_empty_and_keeps_its_rank(shape):
    assert iou_matrix(np.empty((shape[0], 4)), np.empty((shape[1], 4))).shape == shape


@pytest.mark.parametrize('seed', range(5))
def test_iou_equals_a_loop_over_pairs(seed):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 30), random_boxes(rng, 20)
    a[3] = b[4]  # one pair of equal boxes
    expected = [[slow_iou(one, other) for other in b] for one in a]
    np.testing.assert_allclose(iou_matrix(a, b), expected, atol=1e-12)


@pytest.mark.parametrize('seed', range(3))
def test_iou_does_not_depend_on_the_unit(seed):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 20), random_boxes(rng, 20)
    to_pixels = np.array([640, 480, 640, 480])
    np.testing.assert_allclose(iou_matrix(a * to_pixels, b * to_pixels), iou_matrix(a, b))


def test_clipping_uses_the_width_for_x_and_the_height_for_y():
    boxes = np.array([[-10, -20, 700, 500], [10, 20, 30, 40], [650, 490, 700, 500]], np.float32)
    np.testing.assert_array_equal(
        clip_boxes(boxes, width=640, height=480),
        [[0, 0, 640, 480], [10, 20, 30, 40], [640, 480, 640, 480]])


def test_a_box_beside_the_image_is_clipped_to_a_line_on_its_border():
    beside, below = [1.2, 0.1, 1.4, 0.3], [0.1, 1.2, 0.3, 1.4]
    np.testing.assert_array_equal(
        clip_boxes(np.array([beside, below])), [[1, 0.1, 1, 0.3], [0.1, 1, 0.3, 1]])


@pytest.mark.parametrize('function', [xyxy_to_cxcywh, cxcywh_to_xyxy, box_area, clip_boxes])
def test_arguments_stay_as_they_were(function):
    boxes = np.array([[-1.0, 0.5, 3.0, 2.0]])
    function(boxes)
    np.testing.assert_array_equal(boxes, [[-1.0, 0.5, 3.0, 2.0]])
