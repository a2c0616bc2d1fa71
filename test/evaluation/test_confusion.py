"""The confusion matrix, by hand and by its sums."""

import numpy as np
import pytest

from helpers.scenes import CAT, DOG, random_scenes, scene, square
from mbv2ssd_ros.evaluation.confusion import confusion_matrix
from mbv2ssd_ros.evaluation.matching import match_results
from mbv2ssd_ros.evaluation.operating_point import point_at

HERE, AWAY, BELOW = square(0, 0), square(100, 50), square(0, 50)


def confusion(*results, threshold=0.5, classes=2):
    """Return the matrix as lists."""
    return confusion_matrix(results, match_results(results, classes), threshold).tolist()


def test_each_cell_by_hand():
    result = scene(0, [(CAT, 0.9, HERE), (CAT, 0.8, BELOW), (DOG, 0.7, AWAY)],
                   [(CAT, HERE), (DOG, BELOW), (DOG, square(150, 0))])
    #       nothing cat dog, found as
    assert confusion(result) == [
        [0, 0, 1],  # nothing there
        [0, 1, 0],  # cats
        [1, 1, 0]]  # dogs: one missed, one found as a cat


def test_detections_below_the_threshold_do_not_exist():
    result = scene(0, [(CAT, 0.5, HERE), (DOG, 0.4, AWAY)], [(CAT, HERE)])
    assert confusion(result) == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert confusion(result, threshold=0.45) == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_right_detection_takes_its_object_before_a_better_wrong_one():
    result = scene(0, [(DOG, 0.9, HERE), (CAT, 0.6, HERE)], [(CAT, HERE)])
    assert confusion(result) == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_of_two_wrong_detections_the_better_takes_the_object():
    result = scene(0, [(DOG, 0.6, HERE), (3, 0.9, HERE)], [(CAT, HERE)])
    assert confusion(result, classes=3) == [
        [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_doubles_and_detections_on_a_taken_object_count_as_nothing_there():
    result = scene(0, [(CAT, 0.9, HERE), (CAT, 0.8, HERE)], [(CAT, HERE)])
    assert confusion(result) == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_a_wrong_detection_moves_on_to_the_next_object_that_is_left():
    near = (2, 0, 22, 20)  # IoU 9/11 with HERE
    result = scene(0, [(CAT, 0.9, HERE), (DOG, 0.8, HERE)], [(CAT, HERE), (CAT, near)])
    assert confusion(result) == [[0, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_difficult_objects_are_not_missed_and_their_own_detections_left_out():
    result = scene(0, [(CAT, 0.9, HERE), (DOG, 0.8, HERE)], [(CAT, HERE, True)])
    assert confusion(result) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize('seed', range(5))
def test_the_diagonal_and_the_sums_are_those_of_precision_and_recall(seed):
    results = random_scenes(seed, images=30, classes=3)
    matches = match_results(results, 3)
    matrix = confusion_matrix(results, matches, 0.4)
    for label, curve in matches.curves().items():
        point = point_at(curve, 0.4)
        assert matrix[label, label] == point.correct
        assert matrix[label].sum() == curve.num_objects
        assert matrix[:, label].sum() == point.correct + point.false
    assert matrix[0, 0] == 0


def test_counting_leaves_the_matches_alone():
    results = random_scenes(1)
    matches = match_results(results, 2)
    before = matches.objects.found_at.copy()
    first = confusion_matrix(results, matches, 0.3)
    np.testing.assert_array_equal(matches.objects.found_at, before)
    np.testing.assert_array_equal(confusion_matrix(results, matches, 0.3), first)
