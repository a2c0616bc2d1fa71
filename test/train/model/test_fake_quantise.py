"""Rounding in PyTorch: its steps, its gradient, and where a network rounds."""

import copy

import numpy as np
import onnx
from onnx import parser
from onnx.reference import ReferenceEvaluator
import pytest
import torch
from torch import nn

from helpers.model_settings import small_run
from helpers.paths import ROOT
from helpers.small_graph import everything
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import load_config
from mbv2ssd_train.deploy.contract import build_contract, build_network, open_checkpoint
from mbv2ssd_train.model.fake_quantise import (
    add_quantisers,
    add_weight_quantisers,
    keep_rounded_weights,
    Quantiser,
    quantisers,
    remove_quantisers,
    WeightQuantiser,
)
from mbv2ssd_train.model.mobilenet_v2 import InvertedResidual
from mbv2ssd_train.model.quantization_aware import (
    quantised_layers,
    simulate_integer_weights,
    simulate_integers,
)
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.onnx_files.ranges import load_ranges
from mbv2ssd_train.quantize.ptq import quantize_onnx
from mbv2ssd_train.run.checkpoint import Checkpoint
from mbv2ssd_train.weights.start import load_start

WEIGHTS = {'model': {'weights': 'best.pt'}, 'quantize': {'weights_only': True}}
LEARNS = {'model': {'weights': 'best.pt'}, 'quantize': {'ranges_from': 'here/int8.onnx'}}


def quantiser(scale):
    found = Quantiser()
    found.scale.fill_(scale)
    return found


def small_network(**model):
    """A float network of random weights, its BatchNorms as if they had seen data."""
    torch.manual_seed(0)
    config = small_run('d', model=model)
    network = SSD(config.model, config.score_columns)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv2d):  # maps that do not fade away
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


def with_scales(network, scale):
    for part in quantisers(network).values():
        part.scale.fill_(scale)
    return network


def test_a_map_is_rounded_to_steps_and_cut_off():
    # steps of a half, of which int8 has -128 to 127
    x = torch.tensor([0.2, 0.3, -0.8, 100.0, -100.0])
    assert quantiser(0.5).round_map(x).tolist() == [0, 0.5, -1, 63.5, -64]


@pytest.mark.parametrize('scale', [0.5, 0.037])  # halves of a step are reached exactly, or not
def test_maps_are_rounded_bit_for_bit_as_pytorch_does(scale):
    maps = torch.cat([torch.randn(2, 3, 4, 7) * 60 * scale,
                      torch.arange(-140, 140, 0.5).mul(scale).expand(2, 3, 1, -1).reshape(
                          2, 3, 80, 7)], dim=2)
    found, wanted = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    ours = quantiser(scale).round_map(found)
    theirs = torch.fake_quantize_per_tensor_affine(wanted, scale, 0, -128, 127)
    assert torch.equal(ours, theirs)
    for rounded in (ours, theirs):
        (rounded * maps).sum().backward()
    border = (maps == -128.5 * scale) | (maps == 127.5 * scale)  # where a gradient may do either
    assert torch.equal(found.grad[~border], wanted.grad[~border])


def test_what_is_no_number_stays_none():
    assert quantiser(0.5).round_map(torch.tensor([float('nan')])).isnan().all()


def test_each_output_channel_has_its_own_steps():
    # 127 steps reach the largest weight of the channel: of 0.01 and of 1
    weight = torch.tensor([[1.27, 0.014], [127.0, 1.4]])[..., None, None]
    found = quantiser(1.0).round_weight(weight)[..., 0, 0]
    np.testing.assert_allclose(found, [[1.27, 0.01], [127, 1]], rtol=1e-6)


def test_a_channel_of_zeros_stays_one():
    assert quantiser(1.0).round_weight(torch.zeros(2, 3, 1, 1)).tolist() == \
        torch.zeros(2, 3, 1, 1).tolist()


def test_the_gradient_passes_but_where_a_value_was_cut_off():
    x = torch.tensor([0.3, 100.0], requires_grad=True)
    quantiser(0.5).round_map(x).sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_a_convolution_computes_what_the_nodes_of_a_file_compute():
    model = parser.parse_model('''
        <ir_version: 9, opset_import: ["" : 19]>
        conv (float[1, 2, 4, 7] x, float[3, 2, 3, 3] w, float[3] s_w, int8[3] z_w, float[3] b)
            => (float[1, 3, 4, 7] y)
        <float s = {0.05}, int8 z = {0}>
        {
            x_q = QuantizeLinear(x, s, z)
            x_dq = DequantizeLinear(x_q, s, z)
            w_q = QuantizeLinear<axis = 0>(w, s_w, z_w)
            w_dq = DequantizeLinear<axis = 0>(w_q, s_w, z_w)
            y = Conv<pads = [1, 1, 1, 1]>(x_dq, w_dq, b)
        }''')
    network = with_scales(add_quantisers(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1)), ['0'], []),
                          0.05)
    x, (weight, bias) = torch.randn(1, 2, 4, 7), network[0].parameters()
    scales = weight.detach().abs().amax(dim=(1, 2, 3)).numpy() / 127
    wanted, = ReferenceEvaluator(model).run(None, {
        'x': x.numpy(), 'w': weight.detach().numpy(), 's_w': scales, 'z_w': np.zeros(3, np.int8),
        'b': bias.detach().numpy()})
    np.testing.assert_allclose(network(x).detach(), wanted, atol=1e-5)


def test_the_skip_is_rounded_as_the_convolution_beside_it():
    block = InvertedResidual(8, 8, 1, 6, False).eval()
    block.conv[-2].weight.data.zero_()  # what is added to the skip
    rounding = with_scales(add_quantisers(
        nn.Sequential(block), [f'0.{name}' for name in ('conv.0.0', 'conv.1.0', 'conv.2')],
        ['0']), 0.5)
    x = torch.full((1, 8, 3, 5), 0.7)
    assert rounding(x).unique().tolist() == [0.5]


def test_a_copy_has_ranges_of_its_own():
    # the average of the weights is such a copy
    network = with_scales(simulate_integers(small_network()), 0.05)
    average, image = copy.deepcopy(network), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = average(image)[1]
        with_scales(network, 1e6)  # everything is rounded to zero
        assert torch.equal(average(image)[1], before)
        assert not torch.equal(network(image)[1], before)


def test_with_weights_only_maps_stay_as_they_are():
    network = add_weight_quantisers(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)), ['0'])
    network[0].weight.data.fill_(0.3)  # its own largest, which is kept
    np.testing.assert_allclose(network(torch.full((1, 1, 1, 2), 1234.567)).detach().flatten(),
                               [0.3 * 1234.567] * 2, rtol=1e-6)
    assert list(network.state_dict()) == ['0.weight']


def test_weights_that_were_learnt_rounded_are_kept_rounded():
    network, image = simulate_integer_weights(small_network()), torch.randn(1, 3, 64, 96)
    kept = keep_rounded_weights(network)
    assert not quantisers(kept) and len(quantisers(network)) == 78
    with torch.no_grad():
        for found, wanted, before in zip(kept(image), network(image),
                                         remove_quantisers(network)(image), strict=True):
            assert torch.equal(found, wanted)
            assert not torch.equal(found, before)


def test_a_checkpoint_of_rounded_weights_is_a_float_network_with_them():
    config = small_run('d', **WEIGHTS)
    network = build_network(config)
    checkpoint = Checkpoint(config.to_yaml(), config.fingerprints(), config.data.classes, {}, {},
                            network.state_dict(), {}, {}, None)
    found = open_checkpoint(checkpoint)
    assert found.contract.precision == 'fp32' and not quantisers(found.model.network)
    before, after = (each.get_submodule('backbone.features.1.conv.1').weight
                     for each in (network, found.model.network))
    assert torch.equal(after, WeightQuantiser().round_weight(before))
    assert not torch.equal(after, before)


def test_weights_are_rounded_of_the_model_that_is_named(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config('config/train/mbv2_ssdlite_voc_qat.yaml', (
        'quantize.ranges_from=null', 'quantize.weights_only=true'))
    report = load_start(build_network(config), config)
    assert '389 of 389 tensors taken' in report and 'ranges' not in report


def test_for_a_cpu_two_neighbours_of_a_channel_share_128_steps():
    # 1.28 + 1.28 are 128 steps of 0.02; the largest alone, 2.54, is 127 steps of it as well
    weight = torch.tensor([[1.28, 1.28, -2.54, 0.03], [0.1, -0.1, 0, 0]])[..., None, None]
    found = WeightQuantiser().round_weight(weight)[..., 0, 0]
    np.testing.assert_allclose(found, [[1.28, 1.28, -2.54, 0.04], [0.1, -0.1, 0, 0]], rtol=1e-6)


def test_for_a_cpu_the_gradient_of_all_weights_passes():
    weight = torch.randn(3, 4, 3, 3, requires_grad=True)
    (WeightQuantiser().round_weight(weight) * 5).sum().backward()
    assert weight.grad.unique().tolist() == [5]


@pytest.mark.parametrize('rounding', [quantiser(1.0), WeightQuantiser()])
def test_rounding_weights_twice_is_rounding_them_once(rounding):
    # so that quantising the exported file takes them over
    once = rounding.round_weight(torch.randn(6, 4, 3, 3))
    torch.testing.assert_close(rounding.round_weight(once), once, rtol=1e-6, atol=0)


def test_without_its_quantisers_a_network_computes_as_before():
    network, image = small_network(), torch.randn(2, 3, 64, 96)
    rounding = with_scales(simulate_integers(network), 0.3)
    with torch.no_grad():
        wanted, rounded, plain = (part(image)[0] for part in (
            network, rounding, remove_quantisers(rounding)))
    torch.testing.assert_close(plain, wanted, atol=1e-5, rtol=0)
    assert (rounded - wanted).abs().max() > 1e-4


def test_finer_steps_come_nearer_to_float():
    network, image = small_network(), torch.randn(2, 3, 64, 96)
    rounding = simulate_integers(network)
    with torch.no_grad():
        wanted = network(image)[0]
        coarse, fine = ((with_scales(rounding, scale)(image)[0] - wanted).abs().mean()
                        for scale in (1.0, 0.1))
    assert fine < coarse / 2


@pytest.mark.parametrize('model, layers', [
    # 52 and 3 x 3 extra ones of MobileNetV2 with two maps less, 2 heads of 2 layers on 5 maps
    ({}, 52 + 2 * 3 + 2 * 2 * 5),
    # the gates of squeeze-and-excitation stay in float
    ({'backbone': 'mobilenet_v3_large'}, 2 + 15 * 3 - 1 + 2 * 3 + 2 * 2 * 5)])
def test_all_convolutions_round_but_gates(model, layers):
    names = quantised_layers(small_network(**model))
    assert len(names) == layers
    assert not [name for name in names if 'fc1' in name or 'fc2' in name]


def test_a_network_that_rounds_has_no_batch_norm_left():
    network = simulate_integers(small_network())
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert 'backbone.features.0.0.quantiser.scale' in network.state_dict()


def test_a_missing_file_of_ranges_is_named():
    with pytest.raises(DataError, match=r'nothing\.onnx: no such file; set quantize.ranges_from'):
        load_ranges(simulate_integers(small_network()), 'nothing.onnx')


def test_ranges_of_another_architecture_are_refused(tmp_path):
    onnx.save(everything(), tmp_path / 'float.onnx')
    image = [{'images': np.zeros((1, 4, 6, 3), np.uint8)}]
    reader = type('Reader', (), {'get_next': lambda _: image.pop() if image else None})()
    path = tmp_path / 'int8.onnx'
    quantize_onnx(tmp_path / 'float.onnx', path, reader, 'tensorrt', 'minmax', '')
    with pytest.raises(DataError, match=r'int8\.onnx: computes 6 layers in integers, this network '
                       'has 78 such layers; .* one of 84'):
        load_ranges(simulate_integers(small_network()), path)


def test_the_configuration_decides():
    config = small_run('d', **LEARNS)
    assert quantisers(build_network(config)) and not quantisers(build_network(small_run('d')))
    assert build_contract(config, None).precision == 'int8'
    weights = small_run('d', **WEIGHTS)
    assert quantisers(build_network(weights))
    assert build_contract(weights, None).precision == 'fp32'
    assert build_contract(small_run('d'), None).precision == 'fp32'


@pytest.mark.parametrize('sections, said', [
    ({'quantize': LEARNS['quantize']}, 'ranges_from is set but not model.weights'),
    ({'quantize': WEIGHTS['quantize']}, 'weights_only is set but not model.weights'),
    ({**WEIGHTS, 'training': {'sync_bn': True}}, 'sync_bn have no effect with quantize.weights_'),
    ({**WEIGHTS, 'quantize': {'weights_only': True, 'ranges_from': 'a'}}, 'are both set'),
    ({**LEARNS, 'training': {'freeze_bn': True}}, 'freeze_bn .* no effect with quantize.ranges_f'),
    ({**LEARNS, 'training': {'precision': 'bf16'}}, 'training.precision is bf16; .* be fp32')])
def test_what_cannot_be_learnt_with_is_refused(sections, said):
    with pytest.raises(ConfigError, match=said):
        small_run('d', **sections)


def test_learning_with_rounding_is_another_recipe_of_the_same_architecture():
    without = small_run('d', model=LEARNS['model'])
    config = small_run('d', **LEARNS)
    assert config.arch_fingerprint() == without.arch_fingerprint()
    assert config.recipe_fingerprint() != without.recipe_fingerprint()
    moved = small_run('d', **{**LEARNS, 'quantize': {'ranges_from': 'there/int8.onnx'}})
    assert moved.recipe_fingerprint() == config.recipe_fingerprint()
