"""Overlaps of boxes against loops over numbers and with values worked out by hand."""

import math

import pytest
import torch

from helpers.matching_cases import boxes_of, random_boxes
from helpers.matching_cases import iou as slow_iou
from mbv2ssd_train.loss.overlap import ciou, diou, giou, iou, pairwise_iou

UNIT = [0.0, 0.0, 1.0, 1.0]


def enclosing(a, b):
    """Width and height of the box around two."""
    return max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])


def slow_giou(a, b):
    width, height = enclosing(a, b)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) / (1 + slow_iou(a, b))
    return slow_iou(a, b) - (width * height - union) / (width * height)


def slow_diou(a, b):
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (a, b)]
    return slow_iou(a, b) - math.dist(*centres) ** 2 / math.hypot(*enclosing(a, b)) ** 2


def slow_ciou(a, b):
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    v = 4 / math.pi ** 2 * (angles[0] - angles[1]) ** 2
    return slow_diou(a, b) - v * v / (1 - slow_iou(a, b) + v)


SLOW = {iou: slow_iou, giou: slow_giou, diou: slow_diou, ciou: slow_ciou}


def test_iou_of_half_overlapping_boxes():
    # 1 x 1 and 1 x 1, moved by half a side: 0.5 / 1.5
    found = pairwise_iou(boxes_of(UNIT), boxes_of([0.5, 0, 1.5, 1], [2, 2, 3, 3]))
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 0.0]]))


def test_every_image_has_its_own_pairs():
    boxes = torch.stack([boxes_of(UNIT), boxes_of([0, 0, 1, 0.5])])  # (2, 1, 4)
    found = pairwise_iou(boxes, boxes_of(UNIT, [0, 0, 1, 0.25]))
    assert found.tolist() == [[[1.0, 0.25]], [[0.5, 0.5]]]
    each_its_own = pairwise_iou(boxes, torch.stack([boxes_of(UNIT), boxes_of([0, 0, 1, 0.25])]))
    assert each_its_own.tolist() == [[[1.0]], [[0.5]]]


def test_an_empty_place_overlaps_nothing():
    assert pairwise_iou(torch.zeros(1, 4), boxes_of(UNIT)).tolist() == [[0.0]]


@pytest.mark.parametrize('function, expected', [
    # side by side with a gap of one: around both 3 x 1, of which neither covers a third;
    # the centres are 2 apart, the diagonal is sqrt(10)
    (iou, 0.0), (giou, -1 / 3), (diou, -4 / 10), (ciou, -4 / 10)])
def test_two_unit_squares_with_a_gap_of_one(function, expected):
    found = function(boxes_of(UNIT), boxes_of([2, 0, 3, 1]))
    assert found.tolist() == pytest.approx([expected])


def test_the_shape_counts_for_ciou_only():
    # a lying and a standing 1 x 2 cross in a unit square: IoU 1 / 3, centres equal, slopes
    # atan(2) and atan(1/2): v = 4 / pi^2 * (1.1071 - 0.4636)^2 = 0.1678, less v^2 / (2/3 + v)
    lying, standing = boxes_of([0, 0.5, 2, 1.5]), boxes_of([0.5, 0, 1.5, 2])
    assert diou(lying, standing).item() == pytest.approx(1 / 3)
    assert ciou(lying, standing).item() == pytest.approx(
        1 / 3 - 0.16783 ** 2 / (2 / 3 + 0.16783), abs=1e-4)


@pytest.mark.parametrize('function', SLOW)
def test_a_box_covers_itself(function):
    assert function(boxes_of(UNIT), boxes_of(UNIT)).item() == pytest.approx(1.0)


@pytest.mark.parametrize('function', SLOW)
@pytest.mark.parametrize('seed', range(4))
def test_equals_the_formula_on_numbers(function, seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = (20 * random_boxes(generator, 50, 0.9) for _ in range(2))
    expected = [SLOW[function](a, b)
                for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    assert function(one, other).tolist() == pytest.approx(expected, abs=1e-5)
    if function is iou:
        torch.testing.assert_close(pairwise_iou(one, other).diagonal(), iou(one, other))


@pytest.mark.parametrize('function', [giou, diou])
@pytest.mark.parametrize('seed', range(3))
def test_the_slope_is_that_of_finite_differences(function, seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = (random_boxes(generator, 10, 0.9).double() for _ in range(2))
    torch.autograd.gradcheck(lambda boxes: function(boxes, other), one.requires_grad_())


@pytest.mark.parametrize('function', [giou, diou, ciou])
@pytest.mark.parametrize('box', [[0.5, 0.5, 0.5, 0.5], [0, 0.5, 1, 0.5], [1e4, 0, 1e4, 1],
                                 [-1e5, -1e5, 1e5, 1e5]])
def test_degenerate_predictions_have_finite_values_and_slopes(function, box):
    boxes = boxes_of(box).requires_grad_()
    value = function(boxes, boxes_of(UNIT))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(boxes.grad).all()
