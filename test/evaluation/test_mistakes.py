"""Kinds of mistakes and what each costs, by hand."""

from math import isnan

import pytest

from helpers.scenes import CAT, DOG, random_scenes, scene, square
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.metrics import mean_ap, precision_recall
from mbv2ssd_ros.evaluation.matching import Kind, match_results
from mbv2ssd_ros.evaluation.mistakes import break_down, NAMES

HERE, NEAR, AWAY, BELOW = square(0, 0), square(12, 0), square(100, 50), square(0, 50)


def broken_down(found, objects, threshold=0.1):
    """Return the kinds of mistakes of one image by name."""
    matches = match_results([scene(0, found, objects)], 2)
    return {kind.name: kind for kind in break_down(matches, threshold)}


def gains(found, objects):
    """Return what mAP gains by each kind, without those that gain nothing."""
    return {name: kind.map_gain for name, kind in broken_down(found, objects).items()
            if kind.map_gain}


def test_names():
    assert NAMES == (
        'duplicate', 'localisation', 'classification', 'both', 'background', 'missed')


def test_a_wrong_class_that_is_put_right():
    # as it is: a dog in the wrong, no cat found. Put right: the cat is found
    assert gains([(DOG, 0.9, HERE)], [(CAT, HERE)]) == {'classification': 1}


def test_a_wrong_class_costs_both_classes():
    # cats: AP 1/2, put right 1. Dogs: the wrong one goes before the right one, AP 1/2
    found = broken_down([(DOG, 0.9, HERE), (CAT, 0.8, AWAY), (DOG, 0.7, BELOW)],
                        [(CAT, HERE), (CAT, AWAY), (DOG, BELOW)])['classification']
    assert found.ap_gains == {CAT: 0.5, DOG: 0.5} and found.map_gain == 0.5
    assert found.counts == {CAT: 0, DOG: 1} and found.count == 1


def test_a_wrong_place_that_is_put_right():
    assert gains([(CAT, 0.9, NEAR)], [(CAT, HERE)]) == {'localisation': 1}


def test_a_duplicate_and_a_detection_of_nothing_are_taken_away():
    # before the second object comes one wrong: precision 2/3 in the second half
    objects = [(CAT, HERE), (CAT, AWAY)]
    for wrong, name in ((HERE, 'duplicate'), (BELOW, 'background')):
        assert gains([(CAT, 0.9, HERE), (CAT, 0.8, wrong), (CAT, 0.7, AWAY)], objects) == {
            name: pytest.approx(1 / 6)}


def test_both_wrong_is_taken_away():
    # a dog near the cat goes before the right dog
    found = gains([(DOG, 0.9, NEAR), (DOG, 0.8, AWAY), (CAT, 0.9, HERE)],
                  [(CAT, HERE), (DOG, AWAY)])
    assert found == {'both': 0.25}  # 1/2 of one of two classes


def test_missed_objects_are_taken_away():
    assert gains([(CAT, 0.9, HERE)], [(CAT, HERE), (CAT, AWAY)]) == {'missed': 0.5}


def test_an_object_with_a_mistake_that_can_be_put_right_is_not_missed():
    assert broken_down([(CAT, 0.9, NEAR)], [(CAT, HERE)])['missed'].count == 0
    assert broken_down([(DOG, 0.9, HERE)], [(CAT, HERE)])['missed'].count == 0
    assert broken_down([(DOG, 0.9, NEAR)], [(CAT, HERE)])['missed'].counts == {CAT: 1, DOG: 0}


def test_a_class_that_is_missed_altogether_gains_nothing():
    assert gains([], [(CAT, HERE)]) == {}


def test_counts_are_taken_at_the_threshold_and_gains_over_all_detections():
    found = broken_down([(CAT, 0.3, NEAR)], [(CAT, HERE)], threshold=0.5)
    assert (found['localisation'].count, found['missed'].count) == (0, 1)
    assert (found['localisation'].map_gain, found['missed'].map_gain) == (1, 0)


def test_a_mistake_put_right_on_a_found_object_is_taken_away():
    # the box near the cat would become its second detection
    assert gains([(CAT, 0.9, NEAR), (CAT, 0.8, HERE)], [(CAT, HERE)]) == {'localisation': 0.5}


def test_of_two_mistakes_put_right_on_one_object_the_better_stays():
    found = [(CAT, 0.9, NEAR), (CAT, 0.8, NEAR), (CAT, 0.7, AWAY)]
    assert gains(found, [(CAT, HERE), (CAT, AWAY)])['localisation'] == pytest.approx(1 - 1 / 6)


def test_a_mistake_on_a_difficult_object_is_taken_away_not_counted_right():
    found = broken_down([(DOG, 0.9, HERE), (DOG, 0.8, AWAY)], [(CAT, HERE, True), (DOG, AWAY)])
    assert found['classification'].ap_gains[DOG] == 0.5
    assert isnan(found['classification'].ap_gains[CAT])


@pytest.mark.parametrize('seed', range(5))
def test_taking_a_kind_away_equals_measuring_without_it(seed):
    results = random_scenes(seed, images=30)
    matches = match_results(results, 2)
    by_name = {kind.name: kind for kind in break_down(matches, 0.5)}
    before = mean_ap(matches.curves())
    for kind in (Kind.DUPLICATE, Kind.BOTH, Kind.BACKGROUND):
        kept = matches.found.kinds != kind
        pairs = []
        for index, result in enumerate(results):
            rows = kept[matches.found.images == index]
            found = result.detections
            pairs.append((Detections(found.boxes_xyxy[rows], found.scores[rows],
                                     found.labels[rows]), result.truth))
        after = mean_ap(precision_recall(pairs, [1, 2]))
        assert by_name[kind.name.lower()].map_gain == pytest.approx(after - before, abs=1e-12)
