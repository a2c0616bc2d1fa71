"""Heads, extra maps, and the order of priors."""

import numpy as np
import pytest
import torch

from helpers.model_settings import small_model
from mbv2ssd_ros.core.priors import build_priors
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.ssd import SSD


def outputs(config, num_classes=4):
    height, width = config.input_size_hw
    with torch.inference_mode():
        return SSD(config, num_classes).eval()(torch.zeros(2, 3, height, width))


@pytest.mark.parametrize('size_hw', [(224, 224), (96, 160), (100, 75), (64, 64)])
@pytest.mark.parametrize('first_stride, scales', [
    (8, (0.1, 0.3, 0.5, 0.7, 0.9)), (16, (0.2, 0.4, 0.6, 0.8))])
def test_there_is_a_prediction_for_each_prior(size_hw, first_stride, scales):
    config = small_model(input_size_hw=size_hw, first_stride=first_stride, scales=scales)
    priors = len(build_priors(config.prior_levels()))
    loc, conf = outputs(config)
    assert loc.shape == (2, priors, 4) and conf.shape == (2, priors, 4)


def test_counts_of_the_shipped_configuration():
    config = ModelConfig(input_size_hw=(224, 224))
    # maps of 28, 14, 7, 4, 2 and 1 cells a side, six priors in each cell
    assert sum(level.count for level in config.prior_levels()) == 6 * (
        28 ** 2 + 14 ** 2 + 7 ** 2 + 4 ** 2 + 2 ** 2 + 1) == 6300
    parameters = sum(p.numel() for p in SSD(config, 21).parameters())
    assert round(parameters / 1e6, 2) == 3.38


@pytest.mark.parametrize('level, cell_hw, shape', [(0, (1, 9), 0), (0, (7, 3), 3), (2, (1, 2), 1)])
def test_an_output_belongs_to_the_prior_at_its_place(level, cell_hw, shape):
    """Change one cell of one map behind a head: exactly that prior's four offsets change."""
    config = small_model()
    network = SSD(config, 4).eval()
    levels = config.prior_levels()
    row, column = cell_hw

    def change(module, arguments, output):
        changed = output.clone()
        changed[0, 4 * shape:4 * shape + 4, row, column] += 1
        return changed

    x = torch.zeros(1, 3, *config.input_size_hw)
    with torch.inference_mode():
        before = network(x)[0]
        handle = network.loc_heads[level].register_forward_hook(change)
        after = network(x)[0]
        handle.remove()
    changed = torch.nonzero((after != before).any(dim=-1)[0]).flatten().tolist()
    height, width = levels[level].feature_size_hw
    expected = np.array([(column + 0.5) / width, (row + 0.5) / height,
                         *levels[level].shapes_wh[shape]])
    assert len(changed) == 1
    np.testing.assert_allclose(build_priors(levels)[changed[0]], expected, rtol=1e-5)


def test_only_the_finest_map_has_fewer_shapes_in_tensorflow():
    levels = small_model(prior_shapes='tensorflow', aspect_ratios=[[2], *[[2, 3]] * 4]
                         ).prior_levels()
    assert [len(level.shapes_wh) for level in levels] == [3, 6, 6, 6, 6]


@pytest.mark.parametrize('kind', ['ssdlite', 'conv'])
def test_extras_are_padded_as_the_backbone_only_where_asked(kind):
    # of four columns TensorFlow's filters see 0 to 2 and 2 to 3, PyTorch's 0 to 1 and 1 to 3
    seen = {}
    for padding in ('torch', 'tensorflow', 'tensorflow_extras'):
        extra = SSD(small_model(extras=kind, stride2_padding=padding), 4).eval().extras[0]
        x = torch.rand(1, next(extra.parameters()).shape[1], 4, 4, requires_grad=True)
        extra(x)[..., 0].sum().backward()
        seen[padding] = x.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten().tolist()
    assert seen == {'torch': [0, 1], 'tensorflow': [0, 1], 'tensorflow_extras': [0, 1, 2]}


def test_a_bright_spot_moves_the_priors_around_it():
    """A picture's column is a prior's x: the answer to a spot at the right is at the right."""
    config = small_model()
    network = SSD(config, 4).eval()
    dark = torch.zeros(1, 3, 64, 96)
    bright = dark.clone()
    bright[:, :, 12:20, 76:84] = 10
    with torch.inference_mode():
        moved = (network(bright)[1] - network(dark)[1]).abs().sum(dim=-1)[0]
    first = moved[:config.prior_levels()[0].count]
    centre = build_priors(config.prior_levels())[int(first.argmax()), :2]
    np.testing.assert_allclose(centre, [80 / 96, 16 / 64], atol=0.13)


def test_scales_must_fit_the_maps():
    with pytest.raises(ValueError, match='scales has 4 entries.*expected 5'):
        small_model(scales=[0.2, 0.4, 0.6, 0.8])


def randomise(network):
    """Give every BatchNorm statistics and a scale of its own."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.3)
            module.bias.data.uniform_(-0.3, 0.3)
    return network


@pytest.mark.parametrize('padding', ['torch', 'tensorflow'])
def test_a_folded_network_computes_the_same(padding):
    network = randomise(SSD(small_model(stride2_padding=padding), 4)).eval()
    folded = fold_batch_norm(network)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for found, expected in zip(folded(x), network(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())


def test_the_deployed_model_decodes_and_clips():
    config = small_model()
    network = SSD(config, 4)
    model = DeployModel(network, config)
    images = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        boxes, scores = model(images)
        loc, conf = network((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    priors = torch.from_numpy(build_priors(config.prior_levels()))
    centre = priors[:, :2] + 0.1 * loc[..., :2] * priors[:, 2:]
    size = priors[:, 2:] * torch.exp(0.2 * loc[..., 2:])
    expected = torch.cat([centre - size / 2, centre + size / 2], dim=-1).clamp(0, 1)
    torch.testing.assert_close(boxes, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.sum(dim=-1), torch.ones(scores.shape[:2]))
    torch.testing.assert_close(scores, conf.softmax(dim=-1), atol=1e-5, rtol=0)


def test_red_is_normalised_by_the_first_of_three_values():
    config = small_model(mean=[0.0, 0.5, 1.0], std=[1.0, 0.5, 0.25])
    model = DeployModel(SSD(config, 4), config)
    white = model.normalise(torch.full((1, 64, 96, 3), 255, dtype=torch.uint8))
    assert white.shape == (1, 3, 64, 96)
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([1.0, 1.0, 0.0]))
