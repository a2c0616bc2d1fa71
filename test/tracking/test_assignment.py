"""The pairs have the largest sum of gains, compared with trying all."""

import numpy as np
import pytest

from mbv2ssd_ros.tracking.assignment import assign


def best_sum(gain, least, row=0, used=frozenset()):
    """Try every way to pair rows and columns above `least`."""
    if row == len(gain):
        return 0.0
    found = best_sum(gain, least, row + 1, used)
    for column in set(range(gain.shape[1])) - used:
        if gain[row, column] > least:
            found = max(found, gain[row, column]
                        + best_sum(gain, least, row + 1, used | {column}))
    return found


@pytest.mark.parametrize('seed', range(300))
def test_no_other_pairs_have_a_larger_sum(seed):
    rng = np.random.default_rng(seed)
    gain = rng.random(rng.integers(1, 6, 2))
    gain[rng.random(gain.shape) < 0.4] = 0.0
    pairs = assign(gain, 0.3)
    rows, columns = zip(*pairs) if pairs else ((), ())
    assert len(set(rows)) == len(rows) and len(set(columns)) == len(columns)
    assert all(gain[pair] > 0.3 for pair in pairs)
    assert sum(gain[pair] for pair in pairs) == pytest.approx(best_sum(gain, 0.3))


def test_the_largest_gain_is_given_up_for_a_larger_sum():
    assert sorted(assign(np.array([[0.9, 0.8], [0.8, 0.1]]), 0.0)) == [(0, 1), (1, 0)]


def test_a_gain_at_the_limit_is_no_pair():
    assert assign(np.array([[0.3]]), 0.3) == []


@pytest.mark.parametrize('shape', [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape):
    assert assign(np.empty(shape), 0.0) == []
