"""Counts at a threshold, and the threshold of the highest F1."""

from math import isnan

import numpy as np
import pytest

from helpers.scenes import random_scenes, scene
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.metrics import precision_recall, PrecisionRecall
from mbv2ssd_ros.evaluation.operating_point import best_point, point_at, pooled


def curve(scores, correct, num_objects):
    """Return a curve."""
    return PrecisionRecall(np.array(scores, float), np.array(correct, bool), num_objects)


THREE = curve([0.9, 0.6, 0.4], [True, False, True], 4)


def test_counts_precision_recall_and_f1_by_hand():
    point = point_at(THREE, 0.5)
    assert (point.correct, point.false, point.missed) == (1, 1, 3)
    assert (point.precision, point.recall, point.f1) == (1 / 2, 1 / 4, 1 / 3)
    assert point_at(THREE, 0.1).f1 == 4 / 7  # 2 right, 1 wrong, 2 missed


def test_a_score_counts_when_it_is_above_the_threshold_as_in_the_detector():
    assert point_at(THREE, 0.6).false == 0
    assert point_at(THREE, np.nextafter(0.6, 0)).false == 1


def test_without_detections_there_is_no_precision_and_without_objects_no_recall():
    nothing = point_at(curve([], [], 2), 0.5)
    assert isnan(nothing.precision) and nothing.recall == 0 and nothing.f1 == 0
    empty = point_at(curve([0.9], [False], 0), 0.5)
    assert empty.precision == 0 and isnan(empty.recall) and empty.f1 == 0
    assert point_at(curve([], [], 0), 0.5).to_dict()['f1'] is None


def test_the_best_threshold_lies_in_the_middle_of_the_gap():
    # F1 after 1, 2, 3 detections: 2/3, 1/2, 4/5; after the third one nothing follows but 0
    assert best_point(curve([0.9, 0.6, 0.4], [True, False, True], 2)).score_threshold == 0.2
    # 1 of 1, then only wrong ones
    found = best_point(curve([0.9, 0.6, 0.4], [True, False, False], 1))
    assert found.score_threshold == 0.75 and found.f1 == 1


def test_no_threshold_separates_equal_scores():
    # keeping the first of the two alone would be perfect, but no threshold does
    found = best_point(curve([0.9, 0.5, 0.5], [True, True, False], 2))
    assert (found.correct, found.false, found.score_threshold) == (2, 1, 0.25)


def test_of_equal_f1_the_higher_threshold_is_taken():
    # after 1: 2/(1+2) = 2/3; after 4 with 2 right: 4/6
    found = best_point(curve([0.9, 0.8, 0.7, 0.6], [True, False, False, True], 2))
    assert found.score_threshold == pytest.approx(0.85)


@pytest.mark.parametrize('nothing', [
    curve([], [], 3), curve([0.5], [False], 3), curve([0.5], [False], 0)])
def test_without_right_detections_there_is_no_best_threshold(nothing):
    assert best_point(nothing) is None


def test_no_other_threshold_is_better():
    rng = np.random.default_rng(0)
    scores = np.sort(rng.integers(1, 40, 60) / 40)[::-1]
    random = curve(scores, rng.random(60) < scores, 50)
    tried = [point_at(random, threshold).f1 for threshold in np.linspace(0, 1, 1001)]
    assert best_point(random).f1 == max(tried)


def test_pooling_sorts_all_classes_together():
    both = pooled([curve([0.9, 0.3], [True, False], 2), curve([0.5], [False], 1)])
    assert both.scores.tolist() == [0.9, 0.5, 0.3]
    assert both.correct.tolist() == [True, False, False] and both.num_objects == 3


@pytest.mark.parametrize('threshold', [0.2, 0.5, 0.8])
def test_a_threshold_after_the_fact_equals_detecting_with_it(threshold):
    results = random_scenes(3)
    whole = precision_recall([result.pair for result in results], [1])[1]
    above = [(Detections(*(part[result.detections.scores > threshold] for part in (
        result.detections.boxes_xyxy, result.detections.scores, result.detections.labels))),
        result.truth) for result in results]
    cut = precision_recall(above, [1])[1]
    point = point_at(whole, threshold)
    assert (point.correct, point.false) == (cut.correct.sum(), (~cut.correct).sum())


def test_images_without_anything_are_no_error():
    assert best_point(precision_recall([scene(0).pair], [1])[1]) is None
