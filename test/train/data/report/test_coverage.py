"""Prior boxes and the objects of a data set."""

import numpy as np
import pytest

from mbv2ssd_ros.core.boxes import cxcywh_to_xyxy, iou_matrix
from mbv2ssd_ros.core.priors import build_priors, PriorLevel
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.data.report.coverage import best_priors, suggest_priors


def random_boxes(seed, count):
    rng = np.random.default_rng(seed)
    centre, size = rng.random((count, 2)), rng.uniform(0.02, 0.9, (count, 2))
    return np.clip(np.hstack([centre - size / 2, centre + size / 2]), 0, 1).astype(np.float32)


@pytest.mark.parametrize('changes', [
    {}, {'input_size_hw': (224, 352)}, {'clip_priors': True, 'first_stride': 16,
                                        'scales': (0.2, 0.4, 0.6, 0.8, 1.0)}])
def test_the_nearest_prior_of_each_shape_is_the_best_of_all(changes):
    """Compare with every prior, one IoU after the other."""
    levels = ModelConfig(**changes).prior_levels()
    boxes = random_boxes(0, 200)
    found = best_priors(levels, boxes)
    every = iou_matrix(boxes, cxcywh_to_xyxy(build_priors(levels)))
    np.testing.assert_allclose(found.best_iou, every.max(axis=1), atol=1e-5)
    level_of = np.repeat(np.arange(len(levels)), [level.count for level in levels])
    best = np.array([every[:, level_of == number].max(axis=1) for number in range(len(levels))])
    np.testing.assert_allclose(best[found.level, np.arange(200)], every.max(axis=1), atol=1e-5)


def test_objects_are_covered_from_half_on():
    # cells of 0.5 x 1; the prior is 0.5 x 1 about (0.25, 0.5)
    level = PriorLevel((1, 2), ((0.5, 1.0),))
    boxes = np.array([[0, 0, 0.5, 1], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.49]], np.float32)
    found = best_priors([level], boxes)
    np.testing.assert_allclose(found.best_iou, [1, 0.5, 0.49], atol=1e-6)
    assert found.covered.tolist() == [True, True, False]
    assert found.share == pytest.approx(2 / 3) and found.mean_iou == pytest.approx(1.99 / 3)


def test_without_objects_there_is_no_share():
    found = best_priors(ModelConfig().prior_levels(), np.zeros((0, 4), np.float32))
    assert np.isnan(found.share) and np.isnan(found.mean_iou)
    assert suggest_priors(ModelConfig(), np.zeros((0, 4), np.float32)) is None


def tall_boxes(count=300):
    """Make boxes of one tall shape, 0.06 x 0.3, all over the image."""
    rng = np.random.default_rng(0)
    corner = rng.random((count, 2)) * [0.94, 0.7]
    return np.hstack([corner, corner + [0.06, 0.3]]).astype(np.float32)


def test_a_suggestion_suits_unusual_objects_better():
    model = ModelConfig(aspect_ratios=(2.0,))
    present = best_priors(model.prior_levels(), tall_boxes())
    suggestion = suggest_priors(model, tall_boxes())
    assert suggestion.coverage.share > present.share + 0.1
    assert any(ratio > 3 for ratio in suggestion.model.aspect_ratios)
    again = best_priors(suggestion.model.prior_levels(), tall_boxes())
    np.testing.assert_array_equal(again.best_iou, suggestion.coverage.best_iou)


def test_priors_that_suit_are_left_alone():
    model = ModelConfig()
    fitted = suggest_priors(model, tall_boxes()).model
    assert suggest_priors(fitted, tall_boxes()) is None


def test_lists_of_ratios_are_kept():
    ratios = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
    suggestion = suggest_priors(ModelConfig(aspect_ratios=ratios), tall_boxes())
    assert suggestion is None or suggestion.model.aspect_ratios == ratios
