"""Thresholds that keep the share of missed objects below a limit: by hand, and by simulation."""

from itertools import accumulate
from math import comb, e, exp, log

import numpy as np
import pytest

from helpers.paths import ROOT
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.metrics import GroundTruth
from mbv2ssd_ros.evaluation.matching import match_results
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_train.cli import main
from mbv2ssd_train.promise import largest_threshold, mean_missed, p_value, promises

NAMES = ('cat', 'dog')
BOX = [10, 10, 50, 50]


def image(index, scores, objects=1, label=1):
    """An image with objects side by side, of which the first are found with these scores."""
    boxes = np.array([BOX for _ in range(objects)], np.float32).reshape(-1, 4)
    boxes += 60 * np.arange(objects, dtype=np.float32)[:, None]
    found = np.arange(len(scores))
    return ImageResult(
        index, f'i{index}', (400, 400),
        Detections(boxes[found], np.array(scores, np.float32), np.full(len(scores), label)),
        GroundTruth(boxes, np.full(objects, label), np.zeros(objects, bool)))


def test_the_mean_is_over_images_and_not_over_objects():
    # the first image misses one of one, the second none of three
    assert mean_missed(np.array([0, 1, 1, 1]), np.array([-1, 0.9, 0.8, 0.7]), 0.02) == 0.5


def test_a_score_at_the_threshold_is_missed():
    assert mean_missed(np.array([0]), np.array([0.5]), 0.5) == 1.0


@pytest.mark.parametrize('mean, limit, count', [
    (0.0, 0.05, 50), (0.1, 0.2, 30), (0.15, 0.2, 200), (0.02, 0.3, 7)])
def test_the_p_value_is_the_smaller_of_both_bounds(mean, limit, count):
    hoeffding = exp(-count * ((mean * log(mean / limit) if mean else 0)
                              + (1 - mean) * log((1 - mean) / (1 - limit))))
    terms = [comb(count, k) * limit ** k * (1 - limit) ** (count - k) for k in range(count + 1)]
    bentkus = e * list(accumulate(terms))[int(np.ceil(count * mean - 1e-9))]
    assert p_value(mean, limit, count) == pytest.approx(min(1, hoeffding, bentkus), rel=1e-9)


@pytest.mark.parametrize('mean', [0.2, 0.21, 0.9, 1.0])
def test_a_mean_at_or_above_the_limit_proves_nothing(mean):
    assert p_value(mean, 0.2, 100) == 1.0


def test_the_threshold_ends_where_one_more_object_is_too_many():
    # nothing is missed below 0.5 in 100 images, half of the objects from there on
    image_of, found_at = np.arange(100), np.repeat([0.5, 0.9], 50)
    assert largest_threshold(image_of, found_at, 0.1, 0.95, 0.02) == 0.4999


def test_too_few_images_prove_nothing():
    assert largest_threshold(np.arange(20), np.full(20, 0.9), 0.05, 0.95, 0.02) is None


def test_the_promise_holds_in_most_of_many_draws():
    """The limit is broken in at most 5 % of the draws; images have one to four objects."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(300):
        image_of = np.repeat(np.arange(150), rng.integers(1, 5, 150))
        hard = rng.random(150)[image_of]  # objects of an image are alike
        found_at = np.where(rng.random(len(image_of)) < 0.9, rng.random(len(image_of)), -1)
        found_at = np.where(hard < 0.2, found_at * 0.3, found_at)
        threshold = largest_threshold(image_of, found_at, 0.3, 0.95, 0.02)
        if threshold is not None:
            # the same for every object of a large sample: 10 % never, else uniform
            expected = 0.1 + 0.9 * (0.2 * min(1, threshold / 0.3) + 0.8 * threshold)
            broken += expected > 0.3
    assert broken <= 0.05 * 300


def test_a_promise_says_what_it_costs():
    results = [image(index, [0.9]) for index in range(99)]
    results.append(image(99, [0.8, 0.3], objects=2))
    results[0] = image(0, [0.9], label=2)  # a dog, and no cat
    found, = promises(match_results(results, 2), NAMES, {'cat': 0.1}, 0.95, 0.02, 100)
    assert (found.images, found.objects, found.false_per_image) == (99, 100, 0.0)
    # one of 99 images may miss its objects; from 0.9 on all do
    assert found.threshold == 0.8999
    assert found.missed == pytest.approx(1 / 99)


@pytest.mark.parametrize('limits, confidence, message', [
    ({'bird': 0.1}, 0.95, "'bird': the model knows no such class; it knows cat, dog"),
    ({'dog': 0.1}, 0.95, "'dog': no image of the split shows"),
    ({'cat': 1.5}, 0.95, 'cat: 1.5: expected a share between 0 and 1'),
    ({'cat': float('nan')}, 0.95, 'cat: nan: expected a share'),
    ({'cat': 0.1}, 1.0, '--confidence 1.0: expected a number between')])
def test_what_cannot_be_promised_is_an_error(limits, confidence, message):
    with pytest.raises(ConfigError, match=message):
        promises(match_results([image(0, [0.9])], 2), NAMES, limits, confidence, 0.02, 1)


def test_the_program_writes_thresholds_for_the_node(capsys, shared_data):
    assert main(['promise', '--model', str(ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'),
                 '--data', str(shared_data / 'voc_mini' / 'VOCdevkit' / 'VOC2007'),
                 '--split', 'test', '--miss', 'person: 0.9', 'chair:0.01']) == 0
    out = capsys.readouterr().out
    assert 'person: above a score of 0.' in out
    assert 'chair: no threshold keeps the share of missed objects below 1.0%' in out
    assert "class_thresholds: ['person:0." in out and 'chair:' not in out.splitlines()[-1]


def test_a_share_that_is_no_number_is_named(capsys):
    assert main(['promise', '--model', 'm', '--data', 'd', '--split', 's', '--miss',
                 'person']) == 1
    assert "--miss 'person': expected CLASS:SHARE" in capsys.readouterr().err
