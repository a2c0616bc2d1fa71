"""What became of each detection, and of each object."""

import numpy as np
import pytest

from helpers.scenes import CAT, DOG, random_scenes, scene, square
from mbv2ssd_ros.core.metrics import precision_recall
from mbv2ssd_ros.evaluation.matching import Kind, match_results

OWL = 3
HERE = square(0, 0)
NEAR = square(12, 0)  # 8 of 20 columns shared: IoU 160 / 640 = 0.25
AWAY = square(100, 50)


def kinds_of(found, objects):
    """Return the kinds of the detections of one image, in their order."""
    return [Kind(kind) for kind in match_results([scene(0, found, objects)], 3).found.kinds]


def test_each_kind_of_mistake_by_hand():
    objects = [(CAT, HERE), (DOG, square(0, 50))]
    assert kinds_of([(CAT, 0.9, HERE)], objects) == [Kind.CORRECT]
    assert kinds_of([(CAT, 0.9, HERE), (CAT, 0.8, HERE)], objects)[1] == Kind.DUPLICATE
    assert kinds_of([(CAT, 0.9, NEAR)], objects) == [Kind.LOCALISATION]
    assert kinds_of([(DOG, 0.9, HERE)], objects) == [Kind.CLASSIFICATION]
    assert kinds_of([(DOG, 0.9, NEAR)], objects) == [Kind.BOTH]
    assert kinds_of([(CAT, 0.9, AWAY)], objects) == [Kind.BACKGROUND]
    assert kinds_of([(CAT, 0.9, AWAY)], []) == [Kind.BACKGROUND]


def test_a_difficult_object_makes_its_own_class_count_neither_way():
    objects = [(CAT, HERE, True)]
    assert kinds_of([(CAT, 0.9, HERE), (CAT, 0.8, HERE)], objects) == [Kind.IGNORED] * 2
    assert kinds_of([(DOG, 0.9, HERE)], objects) == [Kind.CLASSIFICATION]


def test_the_own_class_goes_before_another():
    # near a cat and on a dog: a cat in the wrong place rather than a dog of the wrong class
    assert kinds_of([(CAT, 0.9, NEAR)], [(CAT, HERE), (DOG, NEAR)]) == [Kind.LOCALISATION]


@pytest.mark.parametrize(('x', 'kind'), [
    (10, Kind.LOCALISATION),  # 1/3
    (16, Kind.LOCALISATION),  # 80 / 720 = 1/9
    (17, Kind.BACKGROUND)])  # 60 / 740 = 0.08
def test_beside_begins_at_a_tenth(x, kind):
    assert kinds_of([(CAT, 0.9, square(x, 0))], [(CAT, HERE)]) == [kind]


def test_an_overlap_of_exactly_a_half_or_a_tenth_reaches():
    half, tenth = (0, 0, 20, 10), (0, 0, 20, 2)
    assert kinds_of([(CAT, 0.9, half)], [(CAT, HERE)]) == [Kind.CORRECT]
    assert kinds_of([(DOG, 0.9, half)], [(CAT, HERE)]) == [Kind.CLASSIFICATION]
    assert kinds_of([(CAT, 0.9, tenth)], [(CAT, HERE)]) == [Kind.LOCALISATION]


def test_rows_of_objects_are_counted_over_all_images():
    matches = match_results([
        scene(0, [(CAT, 0.9, AWAY)], [(DOG, HERE), (CAT, HERE, True)]),
        scene(1),
        scene(2, [(DOG, 0.8, HERE), (OWL, 0.7, HERE)], [(DOG, HERE)], size_hw=(40, 80))], 3)
    assert matches.found.images.tolist() == [0, 2, 2]
    assert matches.found.objects.tolist() == [-1, 2, 2]
    assert matches.objects.images.tolist() == [0, 0, 2]
    assert matches.objects.difficult.tolist() == [False, True, False]
    np.testing.assert_allclose(matches.objects.found_at, [-1, -1, 0.8])
    assert matches.objects.areas_px.tolist() == [400, 400, 400]
    np.testing.assert_allclose(matches.objects.image_shares, [1 / 50, 1 / 50, 1 / 8])


@pytest.mark.parametrize('seed', range(5))
def test_curves_are_those_of_the_metric(seed):
    results = random_scenes(seed, classes=3)
    curves = match_results(results, 3).curves()
    expected = precision_recall([result.pair for result in results], [1, 2, 3])
    for label in (1, 2, 3):
        np.testing.assert_array_equal(curves[label].correct, expected[label].correct)
        np.testing.assert_array_equal(curves[label].scores, expected[label].scores)
        assert curves[label].num_objects == expected[label].num_objects


def test_no_image_and_empty_images_are_no_error():
    assert match_results([], 2).curves()[CAT].num_objects == 0
    assert len(match_results([scene(0), scene(1)], 2).found.scores) == 0
