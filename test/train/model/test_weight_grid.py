"""The steps of weights for a CPU: no two products that a kernel adds leave 16 bits."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from mbv2ssd_train.model.weight_grid import channel_scales, count_steps

FLOATS = st.floats(-8, 8, width=32)
SEEDS = st.integers(0, 2 ** 32 - 1)


def steps_of(weights):
    weights = np.asarray(weights, np.float32)
    return count_steps(weights, channel_scales(weights))


def saturating_product(data, weights):
    """What pmaddubsw and an addition in 32 bits give: two neighbours are added in 16 bits."""
    products = data.astype(int) * weights.astype(int)
    pairs = [products[at:at + 2].sum() for at in range(0, len(products), 2)]
    return sum(np.clip(pairs, -32768, 32767))


def exact_in_order(steps, rng):
    """Tell whether a kernel is right that takes weights in this order, from either pair."""
    data = rng.choice([0, 1, 254, 255], len(steps))  # bytes of a map, the worst ones
    return all(saturating_product(data[start:], steps[start:]) == data[start:] @ steps[start:]
               for start in (0, 1))


@pytest.mark.parametrize('weights, steps', [
    ([1.0, 1.0], [64, 64]),
    ([3.0, 1.0], [96, 32]),
    ([1.27, 0.0], [127, 0]),
    ([1.0, 0.0, 1.0], [127, 0, 127]),  # no neighbours
    ([1.0, -1.0], [127, -127]),  # products of opposite sign do not overflow
    ([0.0, -1.0, -1.0], [0, -64, -64]),
    ([64.5, 63.5], [64, 64]),  # both half way: to the even one
    ([0.0, 0.0], [0, 0]), ([5.0], [127])])
def test_neighbours_of_a_sign_share_128_steps(weights, steps):
    assert steps_of([weights])[0].tolist() == steps


def test_taps_of_a_depthwise_filter_are_neighbours_along_its_rows():
    # (0, 2) and (1, 0) meet, (0, 2) and (1, 2) do not
    apart = [[[[0, 0, 1.0], [0, 0, 1.0]]]]
    across = [[[[0, 0, 1.0], [1.0, 0, 0]]]]
    assert steps_of(apart).max() == 127 and steps_of(across).max() == 64


def test_any_two_taps_of_several_maps_share_128_steps():
    # (N, C, H, W): of other maps and other taps; 1x1 filters lie in the order of the maps
    weights = np.zeros((1, 3, 1, 2), np.float32)
    weights[0, 0, 0, 1] = weights[0, 2, 0, 0] = 1
    assert steps_of(weights).max() == 64
    assert steps_of(np.array([1, 0, 1]).reshape(1, 3, 1, 1)).max() == 127


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
                  elements=FLOATS), SEEDS)
def test_products_of_a_matrix_never_saturate(weights, seed):
    rng = np.random.default_rng(seed)
    assert all(exact_in_order(steps, rng) for steps in steps_of(weights))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, (4, 1, 3, 3), elements=FLOATS), SEEDS)
def test_depthwise_filters_never_saturate(weights, seed):
    rng = np.random.default_rng(seed)
    assert all(exact_in_order(steps.reshape(-1), rng) for steps in steps_of(weights))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, (2, 3, 2, 2), elements=FLOATS), SEEDS)
def test_filters_of_several_maps_and_taps_never_saturate_in_any_order(weights, seed):
    rng = np.random.default_rng(seed)
    for steps in steps_of(weights):
        assert exact_in_order(rng.permutation(steps.reshape(-1)), rng)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 63), st.floats(2.0 ** -20, 2.0 ** 20, width=32), st.integers(-3, 3),
       st.integers(-3, 3))
def test_half_way_but_for_the_last_bits_no_pair_reaches_129(steps, scale, up, down):
    pair = np.array([[128 - steps - 0.5, steps + 0.5]]) * np.float64(np.float32(scale))
    pair = pair.astype(np.float32)
    pair += np.spacing(pair) * np.array([[up, down]], np.float32)
    assert steps_of(pair).sum() <= 128


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float32, (3, 12), elements=FLOATS))
def test_the_steps_are_as_fine_as_the_bound_allows(weights):
    for row, steps in zip(weights, steps_of(weights), strict=True):
        pairs = steps[1:] + steps[:-1]
        if np.abs(row).max() > 1e-30:  # below that scales lose digits
            assert np.abs(steps).max() == 127 or np.abs(pairs).max() in (127, 128)


def test_each_channel_has_its_own_steps():
    weights = np.array([[1.27, 0], [127, 0]], np.float32)
    np.testing.assert_allclose(channel_scales(weights), [0.01, 1], rtol=1e-6)


def test_weights_too_small_for_a_scale_are_zeros():
    assert steps_of([[1e-45, 0]]).tolist() == [[0, 0]]
