"""Counter-based random numbers."""

import numpy as np
import pytest

from mbv2ssd_train.data.augment.draws import philox, uniform_draws


# known answers of Random123, the authors' library: kat_vectors, philox4x32 with 10 rounds
@pytest.mark.parametrize('counter, key, expected', [
    ((0, 0, 0, 0), (0, 0), (0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)),
    ((0xffffffff,) * 4, (0xffffffff,) * 2, (0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd)),
    ((0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), (0xa4093822, 0x299f31d0),
     (0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1))])
def test_philox_gives_the_published_numbers(counter, key, expected):
    assert philox(np.array(counter, np.uint64), key).tolist() == list(expected)


def draws(seed=1, epoch=0, places=(0,), copies=(0,), count=10):
    return uniform_draws(seed, epoch, np.array(places), np.array(copies), count)


def test_numbers_do_not_depend_on_what_else_is_drawn():
    np.testing.assert_array_equal(draws(places=(7,), copies=(2,))[0],
                                  draws(places=(3, 7, 7), copies=(0, 2, 3), count=10)[1])
    np.testing.assert_array_equal(draws(count=3), draws(count=10)[:, :3])


@pytest.mark.parametrize('other', [
    {'seed': 2}, {'seed': 2 ** 70}, {'epoch': 1}, {'places': (1,)}, {'copies': (1,)}])
def test_another_purpose_gives_other_numbers(other):
    assert not np.isin(draws(**other), draws()).any()


def test_numbers_are_even():
    found = draws(places=range(1000), copies=[0] * 1000, count=20)
    assert 0 <= found.min() and found.max() < 1
    counts = np.histogram(found, 10, (0, 1))[0]
    # 2000 expected in each tenth, standard deviation 42
    assert np.abs(counts - 2000).max() < 200
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < 0.15
