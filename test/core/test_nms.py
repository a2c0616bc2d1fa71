"""Non-maximum suppression against a plain quadratic loop and against OpenCV."""

import cv2
import numpy as np
import pytest

from mbv2ssd_ros.core.nms import class_agnostic_nms, class_aware_nms

SEEDS = range(8)
IOUS = (0.0, 0.3, 0.45, 0.75, 1.0)


def random_candidates(seed, count=60, classes=4):
    """Overlapping boxes in a 640 x 480 image, on quarter pixels, with distinct scores."""
    rng = np.random.default_rng(seed)
    top_left = rng.integers(0, [4 * 160, 4 * 120], (count, 2)) / 4
    size = rng.integers(4 * 20, [4 * 160, 4 * 90], (count, 2)) / 4
    boxes = np.concatenate([top_left, top_left + size], axis=1).astype(np.float32)
    scores = (rng.permutation(count) + 1).astype(np.float32) / (count + 1)
    return boxes, scores, rng.integers(0, classes, count)


def iou(a, b):
    """IoU of two boxes, a number at a time."""
    a, b = a.astype(float), b.astype(float)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (both - shared) if shared else 0.0


def slow_nms(boxes, scores, labels, nms_iou):
    """Take the best box that is left and strike out what overlaps it, until nothing is left."""
    left, kept = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        kept.append(best)
        left = [i for i in left if i != best and not (
            labels[i] == labels[best] and iou(boxes[i], boxes[best]) > nms_iou)]
    return kept


@pytest.mark.parametrize('nms_iou', IOUS)
@pytest.mark.parametrize('seed', SEEDS)
def test_class_aware_equals_striking_out(seed, nms_iou):
    boxes, scores, labels = random_candidates(seed)
    assert class_aware_nms(boxes, scores, labels, nms_iou).tolist() == slow_nms(
        boxes, scores, labels, nms_iou)


@pytest.mark.parametrize('nms_iou', IOUS)
@pytest.mark.parametrize('seed', SEEDS)
def test_class_agnostic_equals_striking_out(seed, nms_iou):
    boxes, scores, _ = random_candidates(seed)
    assert class_agnostic_nms(boxes, scores, nms_iou).tolist() == slow_nms(
        boxes, scores, [0] * len(boxes), nms_iou)


@pytest.mark.skipif(not hasattr(cv2.dnn, 'NMSBoxesBatched'), reason=(
    f'OpenCV {cv2.__version__} has no NMSBoxesBatched, which came with 4.7'))
@pytest.mark.parametrize('nms_iou', (0.3, 0.45, 0.75))
@pytest.mark.parametrize('seed', SEEDS)
def test_class_aware_equals_opencv(seed, nms_iou):
    boxes, scores, labels = random_candidates(seed)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    expected = cv2.dnn.NMSBoxesBatched(
        xywh.tolist(), scores.tolist(), labels.tolist(), 0.0, nms_iou)
    assert class_aware_nms(boxes, scores, labels, nms_iou).tolist() == list(expected)


@pytest.mark.parametrize('seed', SEEDS)
def test_what_is_kept_is_sorted_and_free_of_overlaps_within_a_class(seed):
    boxes, scores, labels = random_candidates(seed)
    kept = class_aware_nms(boxes, scores, labels, 0.45)
    assert (np.diff(scores[kept]) < 0).all()
    assert len(set(kept.tolist())) == len(kept) < len(boxes)
    pairs = [(i, j) for i in kept for j in kept if i < j and labels[i] == labels[j]]
    assert max(iou(boxes[i], boxes[j]) for i, j in pairs) <= 0.45


@pytest.mark.parametrize('seed', SEEDS)
def test_a_second_pass_removes_nothing(seed):
    boxes, scores, labels = random_candidates(seed)
    kept = class_aware_nms(boxes, scores, labels, 0.45)
    again = class_aware_nms(boxes[kept], scores[kept], labels[kept], 0.45)
    assert again.tolist() == list(range(len(kept)))


@pytest.mark.parametrize('seed', SEEDS)
def test_the_order_of_the_input_does_not_matter_when_scores_differ(seed):
    boxes, scores, labels = random_candidates(seed)
    order = np.random.default_rng(seed + 100).permutation(len(boxes))
    shuffled = class_aware_nms(boxes[order], scores[order], labels[order], 0.45)
    assert order[shuffled].tolist() == class_aware_nms(boxes, scores, labels, 0.45).tolist()


@pytest.mark.parametrize('seed', SEEDS)
def test_the_unit_of_the_boxes_does_not_matter(seed):
    boxes, scores, labels = random_candidates(seed)
    to_unit = np.float32([1 / 1024, 1 / 512, 1 / 1024, 1 / 512])  # powers of two: exact
    assert class_aware_nms(boxes * to_unit, scores, labels, 0.45).tolist() == class_aware_nms(
        boxes, scores, labels, 0.45).tolist()


# 4 x 2 at the origin and the same moved: a shift of s leaves 2 (4 - s) of 2 (4 + s)
STILL, BY_1, BY_2 = [0, 0, 4, 2], [1, 0, 5, 2], [2, 0, 6, 2]  # IoU 3/5 and 1/3


def keep(boxes, scores, labels, nms_iou):
    """Class-aware NMS of lists."""
    return class_aware_nms(np.array(boxes, dtype=np.float32), np.array(scores, dtype=np.float32),
                           np.array(labels, dtype=np.intp), nms_iou).tolist()


def test_a_worse_box_goes_when_it_overlaps_more_than_the_threshold():
    assert keep([STILL, BY_1, BY_2], [0.9, 0.8, 0.7], [1, 1, 1], 0.5) == [0, 2]


def test_a_removed_box_removes_nothing():
    # BY_2 overlaps BY_1 with 3/5, but BY_1 is gone before it could object
    assert keep([BY_2, STILL, BY_1], [0.7, 0.9, 0.8], [1, 1, 1], 0.5) == [1, 0]


def test_an_iou_exactly_at_the_threshold_is_kept():
    half = [0, 0, 2, 2]  # covers half of STILL: IoU 4/8
    assert keep([STILL, half], [0.9, 0.8], [1, 1], 0.5) == [0, 1]
    assert keep([STILL, half], [0.9, 0.8], [1, 1], np.nextafter(0.5, 0)) == [0]


def test_another_class_is_left_alone_unless_nms_is_class_agnostic():
    boxes, scores = np.array([STILL, STILL], np.float32), np.array([0.8, 0.9], np.float32)
    assert class_aware_nms(boxes, scores, np.array([1, 2]), 0.5).tolist() == [1, 0]
    assert class_agnostic_nms(boxes, scores, 0.5).tolist() == [1]


def test_equal_scores_keep_the_order_of_the_input():
    assert keep([BY_1, STILL, [9, 0, 12, 2]], [0.5, 0.5, 0.5], [1, 1, 1], 0.5) == [0, 2]


def test_equal_boxes_stay_at_a_threshold_of_1_and_the_best_alone_at_0():
    assert keep([STILL, STILL], [0.8, 0.9], [1, 1], 1.0) == [1, 0]
    assert keep([STILL, [3.75, 0, 9, 2]], [0.8, 0.9], [1, 1], 0.0) == [1]


def test_boxes_that_touch_do_not_overlap():
    assert keep([STILL, [4, 0, 8, 2]], [0.9, 0.8], [1, 1], 0.0) == [0, 1]


@pytest.mark.parametrize('nothing', [[2, 1, 2, 1], [2, 0, 2, 2], [3, 2, 1, 0]],
                         ids=['point', 'line', 'inverted'])
def test_a_box_without_area_neither_removes_nor_is_removed(nothing):
    assert keep([nothing, STILL, nothing], [0.9, 0.8, 0.7], [1, 1, 1], 0.0) == [0, 1, 2]


def test_nothing_in_nothing_out():
    kept = class_aware_nms(np.empty((0, 4), np.float32), np.empty(0, np.float32),
                           np.empty(0, np.intp), 0.5)
    assert kept.shape == (0,) and kept.dtype == np.intp


def test_the_arguments_stay_as_they_were():
    arguments = random_candidates(0)
    before = [argument.copy() for argument in arguments]
    class_aware_nms(*arguments, 0.45)
    for was, argument in zip(before, arguments, strict=True):
        np.testing.assert_array_equal(argument, was)
