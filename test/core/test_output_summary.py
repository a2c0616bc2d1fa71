"""What is kept of an answer and how two are compared, with numbers to check in the head."""

import dataclasses

import numpy as np
import pytest

from helpers.tiny_model import CONTRACT
from mbv2ssd_ros.core.output_summary import (
    Difference,
    difference,
    largest,
    LIMITS,
    NAMES,
    summarise,
)

# two levels of 2 and 1 priors, background and two classes
SMALL = dataclasses.replace(CONTRACT, priors_per_level=(2, 1))
BOXES = np.array([[0, 0, 0.2, 0.2], [0, 0, 0.4, 0.6], [0.5, 0.5, 1, 1]], np.float32)
SCORES = np.array([[0.5, 0.1, 0.4], [0.2, 0.4, 0.4], [0.1, 0.9, 0.0]], np.float32)
FIELDS = [field.name for field in dataclasses.fields(Difference)]


def answer(boxes=BOXES, scores=SCORES, contract=SMALL, **settings):
    """Summarise outputs that are changed a little."""
    return summarise(boxes, scores, contract, **settings)


def test_priors_come_by_their_best_class_and_of_equals_the_first_one_first():
    found = answer()
    assert found.strongest.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(found.boxes, BOXES[[2, 0, 1]])
    np.testing.assert_array_equal(found.scores, SCORES[[2, 0, 1], 1:])


def test_means_are_of_levels_and_the_largest_scores_of_classes():
    found = answer()
    np.testing.assert_array_equal(found.highest, np.float32([0.9, 0.4]))
    np.testing.assert_allclose(found.level_boxes, [[0, 0, 0.3, 0.4], [0.5, 0.5, 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(  # of 0.1 and 0.4: the logarithm of 0.2
        np.exp(found.log_scores), [[0.2, 0.4], [0.9, 1e-6]], rtol=1e-5)


def test_where_there_is_no_background_every_column_is_a_class():
    contract = dataclasses.replace(SMALL, background_index=None, class_names=('a', 'b', 'c'))
    assert answer(contract=contract).highest.shape == (3,)


def test_no_more_than_32_priors_are_kept():
    rng = np.random.default_rng(0)
    contract = dataclasses.replace(CONTRACT, priors_per_level=(100,))
    scores = rng.random((100, 3), np.float32)
    found = answer(np.zeros((100, 4), np.float32), scores, contract)
    assert len(found.strongest) == 32
    assert found.scores.max(axis=1).min() >= np.sort(scores[:, 1:].max(axis=1))[-32]


def test_an_answer_does_not_differ_from_itself():
    assert difference(answer(), answer(), SMALL) == Difference(0, 0, 0, 0, 0, 0)


def test_each_figure_is_what_it_says():
    boxes, scores = BOXES.copy(), SCORES.copy()
    boxes[0, 0] += 0.6  # of three boxes one corner
    scores[2, 2] = 0.3  # was 0: another object
    found = difference(answer(boxes, scores, strongest=answer().strongest), answer(), SMALL)
    logarithm = np.log(0.3) - np.log(1e-6)
    assert found.box == pytest.approx(0.6 / 3)
    assert found.level_box == pytest.approx(0.6 / 2)
    assert found.score == pytest.approx(0.3 / 3)
    assert found.highest == 0  # 0.4 is more
    assert found.level_log_score == pytest.approx(logarithm / 2)  # one of two classes
    assert found.log_score == pytest.approx(logarithm / 2 / 3)  # one of three priors


def test_an_object_that_is_not_there_shows():
    scores = SCORES.copy()
    scores[1, 2] = 0.96
    found = difference(answer(scores=scores, strongest=answer().strongest), answer(), SMALL)
    assert found.highest == pytest.approx(0.56)


def test_rounding_that_evens_out_moves_the_mean_less_than_a_fault_that_all_share():
    rng = np.random.default_rng(0)
    contract = dataclasses.replace(CONTRACT, priors_per_level=(1000,))
    boxes, scores = np.zeros((1000, 4), np.float32), rng.uniform(0.1, 0.5, (1000, 3))
    noise, fault = rng.choice([0.9, 1.1], scores.shape), np.full(scores.shape, 0.9)
    expected = summarise(boxes, scores.astype(np.float32), contract)
    found = [difference(summarise(boxes, (scores * factor).astype(np.float32), contract,
                                  expected.strongest), expected, contract).log_score
             for factor in (noise, fault)]
    assert found[1] == pytest.approx(-np.log(0.9), rel=1e-3) and found[0] < found[1] / 5


@pytest.mark.parametrize('precision', LIMITS)
@pytest.mark.parametrize('name', FIELDS)
def test_each_limit_is_one_and_nan_is_beyond_it(precision, name):
    limit = LIMITS[precision]
    assert limit.within(limit)
    for value in (1.01 * getattr(limit, name), float('nan')):
        assert not dataclasses.replace(limit, **{name: value}).within(limit)


def test_lower_precisions_may_differ_more_and_each_figure_has_a_name():
    assert LIMITS['fp32'].within(LIMITS['fp16']) and LIMITS['fp16'].within(LIMITS['int8'])
    assert list(NAMES) == FIELDS


def test_of_several_the_largest_of_each_figure_counts_and_nan_is_kept():
    found = largest([Difference(1, 2, 3, 4, 5, 6), Difference(6, 5, 4, 3, 2, float('nan'))])
    assert dataclasses.astuple(found)[:5] == (6, 5, 4, 4, 5) and np.isnan(found.level_box)
