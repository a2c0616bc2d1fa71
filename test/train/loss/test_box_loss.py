"""Box losses against numbers worked out by hand, and on predictions that are far off."""

import math

import pytest
import torch

from helpers.matching_cases import boxes_of
from mbv2ssd_train.config import LossConfig
from mbv2ssd_train.loss.box_loss import box_loss, decode_within_reason

VARIANCES = (0.1, 0.2)
PRIOR = torch.tensor([[30.0, 20.0, 20.0, 10.0]])  # cxcywh in pixels: 20 to 40, 15 to 25
KINDS = ['smooth_l1', 'l1', 'giou', 'diou', 'ciou']


def loss_of(loc, box, kind, **config):
    return box_loss(torch.tensor([loc]), boxes_of(box), PRIOR, VARIANCES,
                    LossConfig(box=kind, **config)).item()


# the centre is 1 pixel right and 4 pixels below, the width e ** 0.1 as large: offsets of
# 1 / (20 * 0.1) = 0.5, 4 / (10 * 0.1) = 4, 0.1 / 0.2 = 0.5 and 0
HALF = 10 * math.exp(0.1)
SHIFTED = [31 - HALF, 19.0, 31 + HALF, 29.0]


@pytest.mark.parametrize('kind, config, expected', [
    ('l1', {}, 5.0),
    ('smooth_l1', {}, 0.125 + 3.5 + 0.125),  # half the square below 1, then less a half
    ('smooth_l1', {'smooth_l1_beta': 0.5}, 0.25 + 3.75 + 0.25)])
def test_offsets_are_compared_one_by_one(kind, config, expected):
    assert loss_of([0.0] * 4, SHIFTED, kind, **config) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize('kind, expected', [
    # the prior itself against its right neighbour: nothing shared, nothing left out around both,
    # the centres 20 apart, the diagonal of 40 x 10
    ('giou', 1.0), ('diou', 1 + 400 / 1700), ('ciou', 1 + 400 / 1700)])
def test_neighbours(kind, expected):
    assert loss_of([0.0] * 4, [40.0, 15, 60, 25], kind) == pytest.approx(expected)


@pytest.mark.parametrize('kind', KINDS)
def test_a_box_that_is_met_costs_nothing(kind):
    # half a prior to the right and twice as high
    loc = [5.0, 0.0, 0.0, math.log(2) / 0.2]
    assert loss_of(loc, [30.0, 10, 50, 30], kind) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size', [1e1, 1e3, 1e6, 1e30])
@pytest.mark.parametrize('signs', [(1, 1, 1, 1), (-1, 1, -1, -1), (0, 0, 1, -1)])
def test_predictions_far_off_have_finite_losses_and_slopes(kind, size, signs):
    loc = (size * torch.tensor([signs])).float().requires_grad_()
    loss = box_loss(loc, boxes_of([22, 18, 35, 27]), PRIOR, VARIANCES, LossConfig(box=kind))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(loc.grad).all()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('value', [math.inf, -math.inf, math.nan])
def test_a_prediction_that_is_not_finite_does_not_go_unnoticed(kind, value):
    assert not math.isfinite(loss_of([0.0, 0.0, value, 0.0], [22.0, 18, 35, 27], kind))


@pytest.mark.parametrize('kind', KINDS)
def test_going_down_the_slope_meets_the_box(kind):
    wanted = boxes_of([22, 18, 44, 35])
    loc = torch.zeros(1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([loc], 0.1)
    for _ in range(400):
        optimizer.zero_grad()
        box_loss(loc, wanted, PRIOR, VARIANCES, LossConfig(box=kind)).sum().backward()
        optimizer.step()
    found = decode_within_reason(loc.detach(), PRIOR, VARIANCES)
    torch.testing.assert_close(found, wanted, atol=0.5, rtol=0)


def test_offsets_of_ordinary_size_are_decoded_as_the_exported_model_does():
    # centre (30 + 0.2 * 20, 20 - 0.1 * 10), twice as wide
    loc = torch.tensor([[2.0, -1.0, math.log(2) / 0.2, 0.0]])
    torch.testing.assert_close(
        decode_within_reason(loc, PRIOR, VARIANCES), boxes_of([14, 14, 54, 24]))
