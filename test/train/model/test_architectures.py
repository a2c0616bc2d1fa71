"""Every architecture of config/train/base/model: sizes as published, priors, freezing, folding."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
import yaml

from helpers.model_settings import small_model, small_run
from helpers.paths import ROOT
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.priors import build_priors
from mbv2ssd_ros.detector import Detector
from mbv2ssd_train.config import load_config, ModelConfig, parse_config
from mbv2ssd_train.deploy.contract import build_contract, build_network
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.export.onnx_file import export_onnx
from mbv2ssd_train.model.backbone import Taps
from mbv2ssd_train.model.cost import count_macs, count_parameters
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.heads import predictor
from mbv2ssd_train.model.mobilenet_v3 import Hardswish, MobileNetV3Large
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.model.vgg16 import L2Norm, VGG16

PRESETS = sorted((ROOT / 'config/train/base/model').glob('*.yaml'))
SMALL_V3 = {'backbone': 'mobilenet_v3_large', 'width_mult': 0.35}
# without its width, which VGG16 has not, the smallest that its six maps allow is 272 pixels
TINY_VGG = {'backbone': 'vgg16', 'head': 'ssd', 'extra_channels': (8, 8, 8, 8),
            'input_size_hw': (272, 300), 'scales': (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)}


def preset(name, **changes):
    path, = (path for path in PRESETS if path.stem == name)
    return ModelConfig.model_validate({**yaml.safe_load(path.read_text()), **changes})


def shapes_of(config, columns=4):
    """Output shapes for two images, without computing anything."""
    with torch.device('meta'):
        return [tuple(output.shape) for output in SSD(config, columns).eval()(
            torch.zeros(2, 3, *config.input_size_hw))]


@pytest.mark.parametrize('path', PRESETS, ids=lambda path: path.stem)
def test_an_experiment_takes_an_architecture_by_its_file(tmp_path, path):
    (tmp_path / 'mine.yaml').write_text(yaml.safe_dump({
        'defaults': {'model': str(path)}, 'name': 'mine',
        'data': {'root': 'd', 'train': ['t'], 'val': 'v', 'classes': ['a']},
        'model': {'input_size_hw': [300, 420]}}))
    config = load_config(tmp_path / 'mine.yaml')
    assert config.model == preset(path.stem, input_size_hw=(300, 420))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert parse_config(config.to_yaml(), 'written').model == config.model


def test_scores_of_another_kind_are_another_architecture():
    # as many columns: two classes and the background, three classes
    softmax = small_run('d', data={'classes': ['a', 'b']})
    sigmoid = small_run('d', data={'classes': ['a', 'b', 'c']},
                        loss={'classification': 'focal'})
    assert softmax.score_columns == sigmoid.score_columns == 3
    assert softmax.arch_fingerprint() != sigmoid.arch_fingerprint()


# torchvision's documentation: 35,641,826 parameters and 34.858 GMAC, 3,440,060 and 0.583
@pytest.mark.parametrize('name, columns, parameters, gmacs, priors', [
    ('ssd300_vgg16', 91, 35_641_826, 34.858, 8732),
    ('ssdlite320_mobilenet_v3_large', 91, 3_440_060, 0.583, 3234),
    ('mbv2_ssdlite_320', 21, 3_399_108, 0.713, 3234),
    ('mbv2_ssd_reference300', 21, 10_063_308, 1.084, 13502)])
def test_sizes_as_published(name, columns, parameters, gmacs, priors):
    config = preset(name)
    with torch.device('meta'):
        network = SSD(config, columns)
    assert count_parameters(network) == parameters
    assert round(count_macs(network, config.input_size_hw) / 1e9, 3) == gmacs
    assert len(build_priors(config.prior_levels())) == priors


@pytest.mark.parametrize('size_hw', [(272, 300), (300, 420), (321, 399)])
@pytest.mark.parametrize('name', [path.stem for path in PRESETS])
def test_there_is_a_prediction_for_each_prior_at_any_size(name, size_hw):
    config = preset(name, input_size_hw=size_hw)
    priors = sum(level.count for level in config.prior_levels())
    assert shapes_of(config) == [(2, priors, 4), (2, priors, 4)]


@pytest.mark.parametrize('name', [path.stem for path in PRESETS])
def test_the_priors_of_another_size_are_asked_for_without_another_configuration(name):
    config = preset(name)
    assert config.prior_levels((352, 288)) == preset(name, input_size_hw=(352, 288)).prior_levels()


def test_sides_of_the_reference_and_its_taps():
    config = preset('mbv2_ssd_reference300')
    assert [level.feature_size_hw[0] for level in config.prior_levels()] == [38, 19, 10, 5, 3, 2]
    with torch.device('meta'):
        network = SSD(config, 21)
    assert network.backbone.channels == (32, 96, 1280)
    kinds = [[type(layer) for layer in extra] for extra in network.extras]
    assert kinds == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]] * 3


def test_priors_of_torchvision_are_no_longer_than_the_image():
    for name in ('ssd300_vgg16', 'ssdlite320_mobilenet_v3_large'):
        clipped = build_priors(preset(name).prior_levels())[:, 2:]
        whole = build_priors(preset(name, clip_priors=False).prior_levels())[:, 2:]
        np.testing.assert_allclose(clipped, np.minimum(whole, 1))
        assert whole.max() > 1


@pytest.mark.parametrize('changes, match', [
    ({'backbone': 'vgg16', 'width_mult': 0.5}, 'width_mult has no effect with backbone: vgg16'),
    ({'backbone': 'vgg16', 'first_stride': 16}, 'first_stride has no effect'),
    ({'backbone': 'vgg16', 'extras': 'conv'}, 'extras has no effect'),
    ({'backbone': 'vgg16'}, r'extra_channels has 3 entries.*4 maps; config/train/base/model'),
    ({'reduced_tail': True}, 'reduced_tail has no effect with backbone: mobilenet_v2'),
    ({**SMALL_V3, 'stride2_padding': 'tensorflow'}, 'stride2_padding has no effect'),
    ({'min_depth': 12}, 'multiple of 8'),
    ({'aspect_ratios': [[2], [3]]}, r'list of 6 lists, .* found 2 entries'),
    ({'aspect_ratios': [2, [3], 2, 2, 2, 2]}, 'neither one list of numbers nor a list of 6'),
    ({'scales': [0.1] * 8}, 'scales has 8 entries.*expected 6, or one more'),
    ({'aspect_ratios': [2, True]}, r'aspect_ratios\.1\s+.*expected a number'),
    ({'aspect_ratios': [[2]] * 5 + [[2, 0]]}, r'aspect_ratios\.5\s+.*greater than 0'),
    ({'aspect_ratios': [float('inf')]}, r'aspect_ratios\.0\s+.*greater than 0')])
def test_keys_that_mean_nothing_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        ModelConfig.model_validate(changes)


def test_an_input_too_small_for_the_last_map_is_refused_when_the_network_is_built():
    with pytest.raises(ConfigError, match='feature map of .* cells .*larger input size'):
        SSD(preset('ssd300_vgg16', input_size_hw=(224, 300)), 4)


def test_a_last_scale_beside_the_maps_is_the_next_after_the_last():
    # one cell a side: the second square has the mean of 0.9 and 1.0, or 0.9 and 0.4
    for scales, expected in (((), math.sqrt(0.9)), ((0.4,), 0.6)):
        config = small_model(scales=[0.1, 0.2, 0.3, 0.4, 0.9, *scales])
        assert config.prior_levels()[-1].shapes_wh[1] == pytest.approx((expected, expected))


def test_mobilenet_v3_has_as_many_parameters_as_torchvision_without_the_classifier():
    # torchvision's mobilenet_v3_large has 5,483,032, of which the classifier
    # 960 * 1280 + 1280 + 1280 * 1000 + 1000 = 2,511,080; vgg16's features are 14,714,688
    assert sum(p.numel() for p in MobileNetV3Large().parameters()) == 5_483_032 - 2_511_080
    assert sum(p.numel() for p in VGG16().features.parameters()) == 14_714_688


@pytest.mark.parametrize('reduced, last', [(False, (672, 960)), (True, (672, 480))])
def test_taps_of_mobilenet_v3_on_a_wide_image(reduced, last):
    backbone = MobileNetV3Large(reduced_tail=reduced, taps=Taps((7, 13))).eval()
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (240, 8, 12), (last[0], 4, 6), (last[1], 2, 3)]


def test_batch_norms_of_mobilenet_v3_are_those_of_torchvision():
    network = SSD(small_model(**SMALL_V3), 4)
    found = {(m.eps, m.momentum) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    assert found == {(1e-3, 0.03)}


def test_hard_swish_is_the_same_in_both_modes():
    layer, x = Hardswish(), torch.linspace(-5, 5, 101)
    torch.testing.assert_close(layer.train()(x), F.hardswish(x))
    torch.testing.assert_close(layer.eval()(x), F.hardswish(x))


def test_l2_norm_gives_every_cell_the_length_of_its_scale():
    x = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)  # of length 5
    torch.testing.assert_close(L2Norm(2)(x).flatten(), torch.tensor([12.0, -16.0]))


def test_a_cell_of_zeros_has_a_finite_gradient():
    x = torch.zeros(1, 2, 1, 1, requires_grad=True)
    y = L2Norm(2)(x)
    y.sum().backward()
    assert not y.any() and torch.isfinite(x.grad).all()


def test_l2_norm_does_not_leave_the_range_of_half_precision():
    x = torch.full((1, 2, 1, 1), 3e4, dtype=torch.float16)  # its square is 9e8
    torch.testing.assert_close(L2Norm(2)(x).flatten(), torch.full((2,), 20 / math.sqrt(2)))


@pytest.mark.parametrize('changes', [SMALL_V3, {'extras': 'conv', 'taps': 'block', 'head': 'ssd'}])
def test_a_folded_network_computes_the_same(changes):
    network = learnt(SSD(small_model(**changes), 4)).eval()
    folded = fold_batch_norm(network)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for found, expected in zip(folded(x), network(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


def learnt(network):
    """Give every BatchNorm statistics of its own, and every predictor a bias."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.3, 0.3)
    for head in (*network.loc_heads, *network.conf_heads):
        predictor(head).bias.data.uniform_(-0.3, 0.3)
    return network


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def test_frozen_blocks_neither_learn_nor_count():
    network = SSD(small_model(), 4)
    network.freeze(3, batch_norm=False)
    network.train()
    features = network.backbone.features
    assert not any(p.requires_grad for p in features[:3].parameters())
    assert all(p.requires_grad for p in features[3:].parameters())
    assert not any(norm.training for norm in norms(features[:3]))
    assert all(norm.training for norm in norms(features[3:]) + norms(network.extras))
    assert network.training and features[0][2].training


def test_frozen_statistics_of_the_whole_backbone_leave_its_weights_learning():
    network = SSD(small_model(), 4)
    network.freeze(0, batch_norm=True)
    network.train()
    assert not any(norm.training for norm in norms(network.backbone))
    assert all(norm.training for norm in norms(network.conf_heads))
    assert all(p.requires_grad for p in network.parameters())


def test_what_was_frozen_can_learn_again():
    network = SSD(small_model(), 4)
    network.freeze(19, batch_norm=True)
    network.freeze(0, batch_norm=False)
    assert all(p.requires_grad for p in network.parameters())
    assert all(norm.training for norm in norms(network))


def test_a_copy_is_frozen_by_itself():
    network = SSD(small_model(), 4)
    network.freeze(0, batch_norm=True)
    twin = copy.deepcopy(network)
    network.freeze(0, batch_norm=False)
    twin.train()
    assert not any(norm.training for norm in norms(twin.backbone))
    assert all(norm.training for norm in norms(network.backbone))


def test_stages_of_vgg16_end_with_its_poolings():
    with torch.device('meta'):
        network = SSD(ModelConfig.model_validate(TINY_VGG), 4)
    network.freeze(2, batch_norm=False)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    # conv1_1, conv1_2, conv2_1 and conv2_2
    assert frozen == [f'backbone.features.{index}.{kind}' for index in (0, 2, 5, 7)
                      for kind in ('weight', 'bias')]


@pytest.mark.parametrize('config, count', [(TINY_VGG, 6), (SMALL_V3, 17), ({}, 19)])
def test_more_blocks_than_there_are_cannot_be_frozen(config, count):
    with torch.device('meta'):
        network = SSD(ModelConfig.model_validate(config), 4)
    network.freeze(count, batch_norm=False)
    assert not any(p.requires_grad for name, p in network.backbone.named_parameters()
                   if name != 'l2_norm.scale')
    with pytest.raises(ConfigError, match=f'freeze_blocks is {count + 1}; .* has {count} blocks'):
        network.freeze(count + 1, batch_norm=False)


@pytest.mark.parametrize('head', ['ssdlite', 'ssd'])
def test_scores_without_softmax_begin_at_a_hundredth(head):
    config = small_run('d', model={'head': head}, loss={'classification': 'focal'})
    network = build_network(config)
    for layer in map(predictor, network.conf_heads):
        layer.weight.data.zero_()
    _, scores = backend_of(config, network).infer(np.zeros((1, 64, 96, 3), np.uint8))
    np.testing.assert_allclose(scores, 0.01, rtol=1e-5)
    assert scores.shape[2] == 3  # disc, square, triangle


def backend_of(config, network):
    return TorchBackend(DeployModel(network, config.model), build_contract(config, None))


def test_scores_without_softmax_are_each_for_themselves():
    config = small_run('d', loss={'classification': 'focal'})
    network = learnt(build_network(config)).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    _, scores = backend_of(config, network).infer(images)
    with torch.inference_mode():
        _, logits = network((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.numpy())), atol=1e-5)


def test_a_model_without_background_reports_its_first_class():
    config = small_run('d', loss={'classification': 'focal'})
    network = build_network(config)
    predictor(network.conf_heads[0]).bias.data[0] = 9  # the first shape's first column
    backend = backend_of(config, network)
    assert backend.contract.background_index is None
    assert backend.contract.class_names == ('disc', 'square', 'triangle')
    found, = Detector(backend).detect([SourceImage(np.zeros((50, 70, 3), np.uint8), 'rgb')])
    assert len(found) and set(found.labels.tolist()) == {0}


def test_the_backend_says_what_computes():
    config = small_run('d')
    assert backend_of(config, build_network(config)).detail.endswith(', CPU')


@pytest.mark.gpu
def test_a_gpu_computes_the_same():
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA GPU')
    config = small_run('d')
    network = learnt(build_network(config))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    expected = backend_of(config, network).infer(images)
    torch.backends.cudnn.allow_tf32 = False
    moved = backend_of(config, copy.deepcopy(network).to('cuda'))
    assert moved.detail.endswith(', CUDA')
    for found, wanted in zip(moved.infer(images), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('name, changes, sections', [
    ('ssdlite320_mobilenet_v3_large', {'width_mult': 0.35, 'input_size_hw': (96, 160)},
     {'loss': {'classification': 'focal'}}),
    ('mbv2_ssd_reference300', {'width_mult': 0.35, 'input_size_hw': (96, 160)}, {}),
    ('ssd300_vgg16', {'input_size_hw': (272, 300)}, {})])
def test_its_onnx_file_computes_the_same(tmp_path, name, changes, sections):
    import onnx
    model = preset(name, **changes).model_dump(mode='json')
    config = small_run('d', model=model, **sections)
    path = tmp_path / 'model.onnx'
    parity = export_onnx(backend_of(config, learnt(build_network(config))), path)
    assert parity.box_max <= 1e-4 and parity.score_max <= 1e-4
    written = onnx.load(path)
    assert [item.version for item in written.opset_import] == [17]
    kinds = {node.op_type for node in written.graph.node}
    # what engine builders of that age do not know, and what would make shapes depend on data
    assert not kinds & {'HardSwish', 'ReduceMean', 'Shape', 'Gather', 'Range', 'If', 'Resize',
                        'BatchNormalization', 'NonMaxSuppression', 'Identity'}, kinds
    assert ('Sigmoid' if sections else 'Softmax') in kinds
