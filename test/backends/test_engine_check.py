"""What counts as the same answer."""

import numpy as np
import pytest

from mbv2ssd_ros.backends.agreement import (
    check_agreement,
    compare,
    Difference,
    fixed_images,
    LIMITS,
)
from mbv2ssd_ros.core.errors import BackendError


def model(images):
    """Answer with the mean of each image: 2 priors, 3 columns."""
    means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64)[:, None, None] / 255
    return (np.broadcast_to(means, (len(images), 2, 4)).astype(np.float32),
            np.broadcast_to(means, (len(images), 2, 3)).astype(np.float32))


def test_the_images_are_the_same_everywhere_and_no_two_alike():
    images = fixed_images(5, (32, 48))
    assert images.shape == (5, 32, 48, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[:2], fixed_images(2, (32, 48)))
    assert all(np.abs(images[0].astype(int) - other).mean() > 5 for other in images[1:])
    assert images.min() == 0 and images.max() == 255


def test_the_same_model_differs_by_nothing():
    assert compare(model, model, (1, 2, 3), (8, 12)) == Difference(0, 0, 0, 0)


def test_largest_and_mean_difference_are_told_apart():
    def one_box_off(images):
        boxes, scores = model(images)
        boxes = boxes.copy()
        boxes[:, 0, 0] += 0.8
        return boxes, scores

    found = compare(one_box_off, model, (1,), (8, 12))
    assert found.box_max == pytest.approx(0.8, abs=1e-6)
    assert found.box_mean == pytest.approx(0.1, abs=1e-6)  # 1 of 8 values
    assert (found.score_max, found.score_mean) == (0, 0)


@pytest.mark.parametrize('wrong_size', [1, 2, 3])
def test_every_batch_size_is_looked_at(wrong_size):
    def wrong(images):
        boxes, scores = model(images)
        return boxes, scores + np.float32(0.5 * (len(images) == wrong_size))

    assert compare(wrong, model, (1, 2, 3), (8, 12)).score_max == pytest.approx(0.5)


def test_an_engine_that_mixes_up_the_images_of_a_batch_differs():
    def mixed_up(images):
        return tuple(output[::-1] for output in model(images))

    assert compare(mixed_up, model, (2,), (8, 12)).box_mean > 1e-3


def test_one_nan_anywhere_is_not_agreement():
    calls = []

    def sometimes_nan(images):
        calls.append(1)
        boxes, scores = model(images)
        return (boxes, scores * np.float32(np.nan)) if len(calls) == 2 else (boxes, scores)

    found = compare(sometimes_nan, model, (1,), (8, 12))
    with pytest.raises(BackendError, match='nan'):
        check_agreement(found, 'int8', 'ssd.onnx')


@pytest.mark.parametrize('precision', LIMITS)
@pytest.mark.parametrize('part', ['box_max', 'box_mean', 'score_max', 'score_mean'])
def test_each_limit_is_one(precision, part):
    limit = LIMITS[precision]
    check_agreement(limit, precision, 'ssd.onnx')
    beyond = Difference(**{**vars(limit), part: 1.01 * getattr(limit, part)})
    with pytest.raises(BackendError, match=(
            f'ssd.onnx: TensorRT built an engine that .*{precision} allows .*backend: onnxrun')):
        check_agreement(beyond, precision, 'ssd.onnx')


def test_lower_precisions_may_differ_more():
    fp32, fp16, int8 = (LIMITS[name] for name in ('fp32', 'fp16', 'int8'))
    assert fp32.within(fp16) and fp16.within(int8)
