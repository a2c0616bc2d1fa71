"""Hard negative mining: counts, and that the hardest are taken."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch

from mbv2ssd_train.config import LossConfig
from mbv2ssd_train.loss import mining
from mbv2ssd_train.loss.mining import mine_hard_negatives


@pytest.fixture(params=['host', 'device'], autouse=True)
def where(request, monkeypatch):
    """Mine on a CPU, and as on a device whose values must not be waited for."""
    if request.param == 'device':
        monkeypatch.setattr(mining, 'on_host', lambda tensor: False)


def mine(loss, labels, **config):
    return mine_hard_negatives(torch.tensor(loss), torch.tensor(labels), LossConfig(**config))


def test_the_three_hardest_negatives_are_chosen_for_a_positive():
    chosen = mine([[9.0, 0.1, 0.5, 0.3, 0.2, 0.4, 8.0]], [[2, 0, 0, 0, 0, 0, -1]])
    assert chosen.tolist() == [[False, False, True, True, False, True, False]]


def test_every_image_is_mined_by_itself():
    # the second image has the larger losses, and no positive
    chosen = mine([[1.0, 2.0, 3.0, 0.0], [9.0, 8.0, 7.0, 6.0]], [[0, 0, 0, 1], [0, 0, 0, 0]],
                  neg_pos_ratio=1.0, min_negatives=0)
    assert chosen.tolist() == [[False, False, True, False], [False] * 4]


@pytest.mark.parametrize('least', [0, 3, 7])
def test_an_image_without_objects_gives_the_least_number_of_negatives(least):
    chosen = mine([[0.1 * k for k in range(50)]], [[0] * 50], min_negatives=least)
    assert chosen.sum() == least and chosen[0, 50 - least:].all()


def test_there_is_an_upper_limit_where_it_is_set():
    chosen = mine([[0.1 * k for k in range(50)]], [[1] * 10 + [0] * 40], max_negatives=8)
    assert chosen.sum() == 8


def test_where_negatives_are_few_all_are_taken():
    chosen = mine([[1.0, 2.0, 3.0, 4.0]], [[1, 1, 0, -1]])
    assert chosen.tolist() == [[False, False, True, False]]


def test_a_loss_that_is_no_number_is_taken_first():
    chosen = mine([[1.0, float('nan'), 3.0]], [[0, 0, 0]], min_negatives=1)
    assert chosen.tolist() == [[False, True, False]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ratio=st.sampled_from([0.5, 1.0, 3.0, 10.0]),
       least=st.integers(0, 5), limit=st.sampled_from([0, 5, 40]))
def test_the_hardest_negatives_of_each_image_in_the_right_number(seed, ratio, least, limit):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 12, (4, 300), generator=generator).clamp(max=1) \
        * (torch.rand(4, 300, generator=generator) < 0.2)
    loss = torch.rand(4, 300, generator=generator)
    before = loss.clone()
    chosen = mine_hard_negatives(loss, labels, LossConfig(
        neg_pos_ratio=ratio, min_negatives=least, max_negatives=limit))
    assert torch.equal(loss, before)
    for row, image in enumerate(labels):
        positives, negatives = int((image == 1).sum()), int((image == 0).sum())
        wanted = max(int(ratio * positives), least)
        wanted = min(wanted, limit) if limit else wanted
        assert int(chosen[row].sum()) == min(wanted, negatives)
        assert (image[chosen[row]] == 0).all()
        left = loss[row][(image == 0) & ~chosen[row]]
        assert not len(left) or not chosen[row].any() or loss[row][chosen[row]].min() >= left.max()
