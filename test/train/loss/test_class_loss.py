"""Class losses against formulas on numbers."""

import math

import pytest
import torch

from mbv2ssd_train.loss.class_loss import background_loss, focal_loss, one_hot


def slow_focal(logit, target, gamma, alpha):
    score = 1 / (1 + math.exp(-logit))
    entropy = -target * math.log(score) - (1 - target) * math.log(1 - score)
    weight = 1 if alpha is None else alpha * target + (1 - alpha) * (1 - target)
    return weight * abs(target - score) ** gamma * entropy


def test_background_is_the_first_class():
    # e^0 + e^0 + e^ln2 = 4: background has a quarter, in the second row half
    logits = torch.tensor([[[0.0, 0.0, math.log(2)], [math.log(2), 0.0, 0.0]]])
    assert background_loss(logits)[0].tolist() == pytest.approx([math.log(4), math.log(2)])


def test_label_k_is_column_k_less_one():
    found = one_hot(torch.tensor([[2, 0, -1, 1]]), torch.tensor([[0.5, 0.9, 0.9, 1.0]]), 2)
    assert found.tolist() == [[[0, 0.5], [0, 0], [0, 0], [1, 0]]]


@pytest.mark.parametrize('target, expected', [
    # at a score of one half: (1/2)^2 * ln 2, a quarter of it for objects, the rest otherwise
    (1.0, 0.25 * 0.25 * math.log(2)), (0.0, 0.75 * 0.25 * math.log(2))])
def test_focal_loss_of_an_undecided_score(target, expected):
    found = focal_loss(torch.zeros(1), torch.tensor([target]), 2.0, 0.25)
    assert found.item() == pytest.approx(expected)


def test_quality_focal_loss_is_nothing_where_the_score_is_the_quality():
    logits = torch.tensor([-1.0, 0.5, 3.0])
    assert focal_loss(logits, logits.sigmoid(), 2.0).tolist() == [0, 0, 0]


@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize('alpha', [None, 0.25, 0.9])
def test_equals_the_formula_on_numbers(gamma, alpha):
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(40, generator=generator)
    targets = torch.rand(40, generator=generator)
    targets[:20] = targets[:20].round()
    expected = [slow_focal(x, t, gamma, alpha)
                for x, t in zip(logits.tolist(), targets.tolist(), strict=True)]
    assert focal_loss(logits, targets, gamma, alpha).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('logit', [-200.0, 200.0])
@pytest.mark.parametrize('target', [0.0, 0.6, 1.0])
@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0])
def test_a_score_beyond_doubt_has_a_finite_loss_and_slope(logit, target, gamma):
    logits = torch.tensor([logit], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([target]), gamma, 0.25)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
