"""Results of several processes, put together."""

import pickle

import numpy as np
import pytest

from helpers.scenes import CAT, random_scenes, scene, square
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.results import in_order


def test_shares_of_several_processes_come_into_the_order_of_the_data():
    results = [scene(index) for index in range(5)]
    shares = [results[rank::2] for rank in range(2)]
    assert in_order([*shares[1], *shares[0]], 5) == tuple(results)


@pytest.mark.parametrize(('indices', 'found'), [
    ([0, 2], r'2 results for 3 images: \[1\] are missing, none duplicate'),
    ([0, 1, 1, 2], r'4 results for 3 images: none are missing, \[1\] duplicate'),
    ([1, 2, 3], r'\[0\] are missing'),
    ([], r'0 results for 3 images: \[0, 1, 2\] are missing')])
def test_an_image_that_is_missing_or_there_twice_is_refused(indices, found):
    with pytest.raises(DataError, match=found):
        in_order([scene(index) for index in indices], 3)


def test_a_result_survives_pickling():
    result = scene(3, [(CAT, 0.5, square(1, 2))], [(CAT, square(3, 4), True)])
    copy = pickle.loads(pickle.dumps(result))
    assert (copy.index, copy.name, copy.size_hw) == (3, 'image3', (100, 200))
    np.testing.assert_array_equal(copy.detections.boxes_xyxy, [[1, 2, 21, 22]])
    np.testing.assert_array_equal(copy.truth.difficult, [True])


def test_random_scenes_have_what_they_promise():
    results = random_scenes(0)
    assert any(result.truth.difficult.any() for result in results)
    assert any(len(result.truth.labels) == 0 for result in results)
