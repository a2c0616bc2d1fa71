"""Offsets from priors and back, with numbers from SSD's equation 2."""

import math

import pytest
import torch

from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_train.box_coder import cxcywh_to_xyxy, decode_loc, encode_loc, xyxy_to_cxcywh

VARIANCES = (0.1, 0.2)


def random_cxcywh(seed, shape):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand((*shape, 2), generator=generator)
    size = 0.02 + 0.9 * torch.rand((*shape, 2), generator=generator)
    return torch.cat([centre, size], dim=-1)


def test_corners_of_a_wide_box():
    wide = torch.tensor([0.5, 0.4, 0.6, 0.2])
    torch.testing.assert_close(cxcywh_to_xyxy(wide), torch.tensor([0.2, 0.3, 0.8, 0.5]))
    torch.testing.assert_close(xyxy_to_cxcywh(torch.tensor([0.2, 0.3, 0.8, 0.5])), wide)


def test_a_box_on_its_prior_is_four_zeros():
    prior = torch.tensor([[0.3, 0.6, 0.2, 0.4]])
    assert encode_loc(prior, prior, VARIANCES).tolist() == [[0, 0, 0, 0]]


def test_offsets_are_in_prior_sizes_over_the_variance():
    # shifted by half the prior's width and by a quarter of its height, e times as wide
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    box = torch.tensor([[0.6, 0.6, 0.2 * math.e, 0.4]])
    torch.testing.assert_close(
        encode_loc(box, prior, VARIANCES), torch.tensor([[5.0, 2.5, 5.0, 0.0]]))


def test_decode_of_offsets_worked_out_by_hand():
    # centre (0.5 + 1 * 0.1 * 0.2, 0.5 - 2 * 0.1 * 0.4), height doubled
    loc = torch.tensor([[1.0, -2.0, 0.0, math.log(2) / 0.2]])
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    torch.testing.assert_close(
        decode_loc(loc, prior, VARIANCES), torch.tensor([[0.42, 0.02, 0.62, 0.82]]))


@pytest.mark.parametrize('seed', range(5))
def test_decode_inverts_encode(seed):
    priors, boxes = random_cxcywh(seed, (64,)), random_cxcywh(seed + 100, (3, 64))
    decoded = decode_loc(encode_loc(boxes, priors, VARIANCES), priors, VARIANCES)
    torch.testing.assert_close(decoded, cxcywh_to_xyxy(boxes), atol=1e-5, rtol=0)


@pytest.mark.parametrize('function', [encode_loc, decode_loc])
def test_another_number_of_priors_is_refused(function):
    with pytest.raises(ShapeError, match=r'is \(2, 7, 4\), expected .* priors \(8, 4\)'):
        function(torch.ones(2, 7, 4), torch.ones(8, 4), VARIANCES)
