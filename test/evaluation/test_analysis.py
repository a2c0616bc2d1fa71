"""Sizes, scores, worst images, and everything together as JSON."""

import json
from math import isnan

import numpy as np
import pytest

from helpers.scenes import CAT, DOG, NAMES, random_scenes, scene, square
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.metrics import PrecisionRecall
from mbv2ssd_ros.evaluation.analysis import analyse, curve_rows, Subject
from mbv2ssd_ros.evaluation.matching import match_results
from mbv2ssd_ros.evaluation.scores import BINS, score_bins
from mbv2ssd_ros.evaluation.sizes import recall_by_pixels, recall_by_share
from mbv2ssd_ros.evaluation.worst import worst_images

SUBJECT = Subject('m.onnx', 'test', NAMES, 0.02, 0.35)
HERE, AWAY = square(0, 0), square(100, 50)


def curve(scores, correct):
    """Return a curve of ten objects."""
    return PrecisionRecall(np.array(scores, float), np.array(correct, bool), 10)


# sizes

def test_recall_by_size_in_pixels_of_the_original_image():
    # sides 31, 32, 96: small, medium, large; the medium one is found, as is the difficult one
    objects = [(CAT, square(0, 0, 31)), (CAT, square(100, 0, 32)), (DOG, square(0, 100, 96)),
               (CAT, square(200, 0, 32), True)]
    matches = match_results([scene(0, [(CAT, 0.9, square(100, 0, 32))], objects, (300, 500))], 2)
    found = recall_by_pixels(matches, 0.5, None)
    assert [(bucket.objects, bucket.found) for bucket in found] == [(1, 0), (1, 1), (1, 0)]
    cats = recall_by_pixels(matches, 0.5, CAT)
    assert [bucket.objects for bucket in cats] == [1, 1, 0]
    assert cats[1].recall == 1 and isnan(cats[2].recall)
    assert [bucket.found for bucket in recall_by_pixels(matches, 0.9, None)] == [0, 0, 0]


def test_sizes_relative_to_an_image_that_is_not_square():
    # 20 x 20 of 100 x 400: the root of 1/100 is a tenth, which is where a bucket begins
    matches = match_results([scene(0, [], [(CAT, HERE)], (100, 400))], 2)
    found = recall_by_share(matches, 0.5, None)
    assert [bucket.objects for bucket in found] == [0, 0, 1, 0, 0, 0]
    assert found[2].name == '10 to 20 %'


# scores

def test_scores_fall_into_steps_and_one_into_the_last():
    bins = score_bins(curve([1.0, 0.5, 0.49, 0.0], [True, True, False, False]))
    assert BINS == 20
    assert bins.correct.nonzero()[0].tolist() == [10, 19]
    assert bins.false.nonzero()[0].tolist() == [0, 9]
    assert bins.share_correct[10] == 1 and isnan(bins.share_correct[5])


def test_the_calibration_error_by_hand():
    # 0.75: half of the two are right, off by 0.25; 0.25: none of two, off by 0.25
    assert score_bins(curve([0.75, 0.75, 0.25, 0.25], [True, False, False, False])
                      ).calibration_error == pytest.approx(0.25)
    assert score_bins(curve([1.0, 0.0], [True, False])).calibration_error == 0
    assert isnan(score_bins(curve([], [])).calibration_error)


# worst images

def test_badness_is_missed_objects_and_scores_of_false_detections():
    results = [scene(0, [(CAT, 0.9, HERE)], [(CAT, HERE)]),  # perfect
               scene(1, [(DOG, 0.75, HERE)], []),
               scene(2, [(CAT, 0.1, AWAY)], [(CAT, HERE), (DOG, AWAY), (DOG, HERE, True)])]
    found = worst_images(match_results(results, 2), 3, 0.5)
    assert [(item.image, item.missed, item.false) for item in found] == [(2, 2, 0), (1, 0, 1)]
    assert [item.badness for item in found] == [2, 0.75]


def test_the_worst_of_each_class_are_there_too():
    results = [scene(0, [], [(CAT, HERE)] * 3), scene(1, [], [(CAT, HERE)] * 2),
               scene(2, [], [(DOG, HERE)])]
    matches = match_results(results, 2)
    assert [item.image for item in worst_images(matches, 3, 0.5, count=1, per_class=1)] == [0, 2]
    assert len(worst_images(matches, 3, 0.5, count=3, per_class=3)) == 3
    assert len(worst_images(matches, 3, 0.5, at_most=2)) == 2


# everything

@pytest.mark.needs('faster_coco_eval')
def test_json_names_the_split_beside_every_group_of_figures():
    found = analyse(SUBJECT, random_scenes(0)).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    groups = [found, found['coco'], found['overall'], *found['per_class'].values(),
              found['confusion'], found['mistakes'], found['worst_images']]
    assert [group['split'] for group in groups] == ['test'] * 8
    assert (found['model'], found['images'], found['score_threshold']) == ('m.onnx', 20, 0.35)


@pytest.mark.needs('faster_coco_eval')
def test_figures_of_a_known_scene():
    found = analyse(SUBJECT, [
        scene(0, [(CAT, 0.9, HERE), (CAT, 0.8, AWAY)], [(CAT, HERE), (DOG, square(150, 0))])
    ]).to_dict()
    assert found['map_50'] == 0.5 and found['ap_50'] == {'cat': 1, 'dog': 0}
    assert found['objects'] == {'cat': 1, 'dog': 1}
    assert found['per_class']['cat']['at_score_threshold'] == {
        'score_threshold': 0.35, 'correct': 1, 'false': 1, 'missed': 0,
        'precision': 0.5, 'recall': 1, 'f1': pytest.approx(2 / 3)}
    assert found['per_class']['cat']['at_best_f1']['f1'] == 1
    assert found['per_class']['dog']['at_best_f1'] is None
    assert found['per_class']['cat']['curve'] == {
        'score': [0.9, 0.8], 'recall': [1, 1], 'precision': [1, 0.5]}
    assert found['overall']['at_score_threshold']['f1'] == 0.5
    assert found['confusion']['counts'] == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert found['coco']['ap_50'] == 0.5
    assert found['worst_images']['images'] == [
        {'name': 'image0', 'missed': 1, 'false': 1, 'badness': pytest.approx(1.8)}]


@pytest.mark.needs('faster_coco_eval')
def test_nothing_at_all_is_null_and_no_error():
    found = analyse(SUBJECT, [scene(0)]).to_dict()
    assert json.dumps(found, allow_nan=False)
    assert found['map_50'] is None and found['ap_50'] == {'cat': None, 'dog': None}


@pytest.mark.parametrize('threshold', [0.01, 1.5])
def test_an_operating_point_below_the_kept_scores_or_above_1_is_refused(threshold):
    with pytest.raises(ConfigError, match=f'{threshold}, expected one from 0.02'):
        Subject('m', 's', NAMES, 0.02, threshold)


@pytest.mark.parametrize('count', [0, 1, 50, 5000])
def test_points_of_a_curve_are_few_and_reach_from_end_to_end(count):
    found = curve_rows(PrecisionRecall(np.linspace(1, 0, count), np.arange(count) % 3 == 0, 5000))
    assert len(found) <= 202 and (count == 0) == (len(found) == 0)
    if count:
        assert (found[0], found[-1]) == (0, count - 1)
