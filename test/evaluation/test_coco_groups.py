"""COCO's figures do not depend on how many classes are measured at a time."""

import pytest

from helpers.scenes import CAT, DOG, random_scenes, scene, square
from mbv2ssd_ros.evaluation import coco

pytestmark = pytest.mark.needs('faster_coco_eval')


NAMES = ('cat', 'dog', 'owl', 'fox')


@pytest.mark.parametrize('most', [1, 60, 150])
@pytest.mark.parametrize('seed', range(3))
def test_figures_of_classes_measured_apart_are_those_of_all_together(seed, most, monkeypatch):
    results = random_scenes(seed, images=30, classes=4)
    together = coco.coco_figures(results, NAMES).to_dict(NAMES)
    assert len(coco._groups(results, 4)) == 1
    monkeypatch.setattr(coco, '_MOST_AT_ONCE', most)
    assert len(coco._groups(results, 4)) > 1
    assert coco.coco_figures(results, NAMES).to_dict(NAMES) == together


@pytest.mark.parametrize(('most', 'expected'), [
    (100, [range(1, 5)]), (3, [range(1, 4), range(4, 5)]), (2, [range(1, 2), range(2, 5)]),
    (1, [range(1, 2), range(2, 4), range(4, 5)])])
def test_classes_are_grouped_by_their_detections(most, expected, monkeypatch):
    monkeypatch.setattr(coco, '_MOST_AT_ONCE', most)
    found = [(CAT, 0.9, square(0, 0)), (CAT, 0.8, square(9, 9)), (DOG, 0.5, square(0, 0))]
    last = [(4, 0.5, square(0, 0))]  # no detection of the third class
    assert coco._groups([scene(0, found), scene(1, last)], 4) == expected


def test_without_any_image_there_is_one_group():
    assert coco._groups([], 2) == [range(1, 3)]
