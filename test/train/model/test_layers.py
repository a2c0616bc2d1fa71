"""Padding, folding on the fly, and the gradient of depthwise convolutions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mbv2ssd_train.model.layers import ConvNormAct, convolve, convolve_normalise

SIZES_HW = ((8, 12), (7, 11), (8, 11), (7, 12), (1, 2), (2, 1))


def random_norm(channels, seed=0):
    """A BatchNorm that has seen data."""
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(channels)
    for values, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2),
                              (norm.weight.data, 0.5, 2), (norm.bias.data, -1, 1)):
        values.uniform_(low, high, generator=generator)
    return norm


def tensorflow_same(x, weight, groups):
    """Pad as TensorFlow's SAME does for a 3x3 kernel at stride 2, the surplus behind."""
    height, width = x.shape[-2:]
    total_h = max((-(-height // 2) - 1) * 2 + 3 - height, 0)
    total_w = max((-(-width // 2) - 1) * 2 + 3 - width, 0)
    padded = F.pad(x, (total_w // 2, total_w - total_w // 2, total_h // 2, total_h - total_h // 2))
    return F.conv2d(padded, weight, stride=2, groups=groups)


@pytest.mark.parametrize('groups', [1, 4])
@pytest.mark.parametrize('size_hw', SIZES_HW)
def test_tensorflow_padding_is_same_padding(size_hw, groups):
    conv = nn.Conv2d(4, 4, 3, 2, 1, groups=groups, bias=False)
    x = torch.randn(2, 4, *size_hw)
    found = convolve(x, conv.weight, None, conv, tensorflow_padding=True)
    assert found.shape[-2:] == (-(-size_hw[0] // 2), -(-size_hw[1] // 2))
    torch.testing.assert_close(found, tensorflow_same(x, conv.weight, groups))


def test_on_an_even_side_tensorflow_looks_one_pixel_further():
    conv = nn.Conv2d(1, 1, 3, 2, 1, bias=False)
    conv.weight.data.zero_()[0, 0, 1, 1] = 1  # gives out the pixel in the middle
    x = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert convolve(x, conv.weight, None, conv, False)[0, 0, 0].tolist() == [0, 2]
    assert convolve(x, conv.weight, None, conv, True)[0, 0, 0].tolist() == [1, 3]


@pytest.mark.parametrize('tensorflow_padding', [False, True])
def test_stride_one_is_padded_on_all_sides(tensorflow_padding):
    conv = nn.Conv2d(3, 5, 3, 1, 1, bias=False)
    x = torch.randn(1, 3, 6, 9)
    torch.testing.assert_close(convolve(x, conv.weight, None, conv, tensorflow_padding), conv(x))


def test_frozen_statistics_give_what_batch_norm_in_eval_mode_gives():
    layer = ConvNormAct(6, 8, 3, 2)
    layer[1] = random_norm(8).eval()
    conv, norm, act = layer
    x = torch.randn(2, 6, 9, 14)
    torch.testing.assert_close(layer(x), act(norm(conv(x))), rtol=1e-4, atol=1e-5)


def test_frozen_statistics_leave_the_gradients_as_they_are():
    conv, norm = nn.Conv2d(6, 8, 3, 1, 1, bias=False).double(), random_norm(8).double().eval()
    x, weights = torch.randn(2, 6, 9, 14).double(), torch.randn(2, 8, 9, 14).double()
    parameters = (conv.weight, norm.weight, norm.bias)
    expected = torch.autograd.grad((norm(conv(x)) * weights).sum(), parameters)
    found = torch.autograd.grad((convolve_normalise(x, conv, norm) * weights).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_batch_norm_that_learns_takes_up_statistics():
    layer = ConvNormAct(3, 4)
    before = layer[1].running_mean.clone()
    layer.train()(torch.randn(2, 3, 5, 7))
    assert not torch.equal(layer[1].running_mean, before)
    assert layer[1].num_batches_tracked == 1


@pytest.mark.parametrize('kernel, tensorflow_padding', [(3, False), (3, True), (5, False)])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size_hw', SIZES_HW)
def test_low_precision_depthwise_gradients_equal_autograd_in_double(
        size_hw, stride, kernel, tensorflow_padding):
    # small integers: bfloat16 holds them and all sums of their products exactly
    conv = nn.Conv2d(3, 3, kernel, stride, kernel // 2, groups=3, bias=False)
    generator = torch.Generator().manual_seed(1)

    def integers(*shape):
        return torch.randint(-3, 4, shape, generator=generator).float()

    x, weight = integers(2, 3, *size_hw), integers(3, 1, kernel, kernel)
    gradients = []
    for dtype, low in ((torch.float32, True), (torch.float64, False)):
        leaves = [x.to(dtype).clone().requires_grad_(), weight.to(dtype).clone().requires_grad_()]
        with torch.autocast('cpu', torch.bfloat16, enabled=low):
            y = convolve(leaves[0], leaves[1], None, conv, tensorflow_padding)
        upstream = (torch.arange(y.numel()) % 5 - 2).reshape(y.shape).to(y.dtype)
        gradients.append((y.double(), *torch.autograd.grad(y, leaves, upstream)))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found.double(), expected, atol=0, rtol=1e-2)


def test_low_precision_is_really_computed_in_low_precision():
    conv = nn.Conv2d(3, 3, 3, 1, 1, groups=3, bias=False)
    with torch.autocast('cpu', torch.bfloat16):
        assert convolve(torch.randn(1, 3, 4, 6), conv.weight, None, conv, False).dtype \
            == torch.bfloat16


def test_only_what_needs_a_gradient_gets_one():
    conv = nn.Conv2d(3, 3, 3, 2, 1, groups=3, bias=False)
    x = torch.randn(1, 3, 4, 6)
    with torch.autocast('cpu', torch.bfloat16):
        convolve(x, conv.weight, None, conv, False).sum().backward()
    assert x.grad is None and conv.weight.grad.any()
