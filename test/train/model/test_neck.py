"""FPN-lite: what is merged with what, at any size, and as a file of floats and of integers."""

import numpy as np
import onnx
import pytest
from test_fake_quantise import small_network
import torch
from torch import nn

from helpers.model_settings import small_model, small_run
from mbv2ssd_ros.backends.agreement import compare, Difference
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.config import ModelConfig, OptimizerConfig, TrainConfig
from mbv2ssd_train.deploy.contract import build_contract
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.export.half import to_float16
from mbv2ssd_train.export.onnx_file import export_onnx, OPSET
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.layers import DEFAULT_NORM
from mbv2ssd_train.model.neck import enlarge, FPNLite
from mbv2ssd_train.model.quantization_aware import simulate_integers
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.onnx_files.graph import GraphIndex
from mbv2ssd_train.onnx_files.ranges import load_ranges
from mbv2ssd_train.onnx_files.self_test import infer_as_written
from mbv2ssd_train.optimizer import build_optimizer
from mbv2ssd_train.quantize.lint import check_qdq
from mbv2ssd_train.quantize.ptq import quantize_onnx, TARGETS
from mbv2ssd_train.weights.start import load_network, Scores

NECK = {'neck': 'fpn_lite', 'neck_channels': 16}
ODD_HW = (72, 104)  # maps of 9 x 13, 5 x 7 and 3 x 4 cells: every one is cut


@pytest.mark.parametrize('size_hw, expected', [
    ((2, 4), [[1, 1, 2, 2], [1, 1, 2, 2]]),
    ((1, 3), [[1, 1, 2]]),
    ((3, 5), [[1, 1, 2, 2, 2], [1, 1, 2, 2, 2], [1, 1, 2, 2, 2]])])
def test_a_cell_lies_over_two_finer_ones_in_both_directions(size_hw, expected):
    found = enlarge(torch.tensor([[[[1.0, 2.0]]]]), size_hw)
    assert found[0, 0].tolist() == expected


def test_each_map_is_its_own_and_all_coarser_ones():
    # one channel, weights of one, no filter: what is merged can be added up by hand
    neck = FPNLite([1, 1, 1], 1, DEFAULT_NORM).eval()
    for lateral in neck.laterals:
        nn.init.ones_(lateral[0].weight)
    for level in neck.filters:
        level.layers = nn.Identity()
    maps = [torch.full((1, 1, *size), value) for size, value in (
        ((3, 5), 1.0), ((2, 3), 10.0), ((1, 2), 100.0))]
    with torch.no_grad():
        found = neck(maps)
    assert [tuple(m.shape[2:]) for m in found] == [(3, 5), (2, 3), (1, 2)]
    for level, expected in zip(found, (111, 110, 100)):
        torch.testing.assert_close(level, torch.full_like(level, expected), rtol=1e-4, atol=0)


def test_what_a_coarse_cell_shows_reaches_the_fine_cells_below_it():
    neck = FPNLite([4, 4, 4], 8, DEFAULT_NORM).eval()
    maps = [torch.rand(1, 4, *size) for size in ((8, 12), (4, 6), (2, 3))]
    with torch.no_grad():
        before = neck(maps)[0]
        maps[2][:, :, 0, 2] += 5
        moved = (neck(maps)[0] - before).abs().sum(dim=(0, 1)) > 1e-6
    # rows 0 to 3 and columns 8 to 11, and one more around them for the 3x3 filter
    assert moved.any() and not moved[5:].any() and not moved[:, :7].any()
    assert moved[0, 11] and moved[3, 8]


@pytest.mark.parametrize('size_hw', [ODD_HW, (300, 420)])
@pytest.mark.parametrize('changes', [
    {}, {'first_stride': 16, 'scales': [0.2, 0.4, 0.6, 0.8]}, {'head': 'ssd', 'extras': 'conv'},
    {'taps': 'block'}, {'backbone': 'mobilenet_v3_large'}])
def test_there_is_a_prediction_for_each_prior(size_hw, changes):
    config = small_model(**NECK, **changes, input_size_hw=size_hw)
    priors = sum(level.count for level in config.prior_levels())
    with torch.device('meta'):
        loc, conf = SSD(config, 4).eval()(torch.zeros(2, 3, *size_hw))
    assert loc.shape == conf.shape == (2, priors, 4)


@pytest.mark.parametrize('size_hw', [(300, 300), (296, 328)])
def test_maps_of_vgg16_that_were_rounded_down_are_reached(size_hw):
    # 296 pixels are 37 cells, of which pooling leaves 18
    config = ModelConfig(backbone='vgg16', head='ssd', extra_channels=(8, 8, 8, 8), **NECK,
                         input_size_hw=size_hw, scales=(0.1, 0.2, 0.4, 0.6, 0.8, 0.9))
    priors = sum(level.count for level in config.prior_levels())
    with torch.device('meta'):
        loc, _ = SSD(config, 4).eval()(torch.zeros(1, 3, *size_hw))
    assert loc.shape == (1, priors, 4)


def test_extra_maps_come_from_the_backbone_with_all_its_channels():
    network = SSD(small_model(**NECK), 4)
    assert network.extras[0][0][0].in_channels == network.backbone.channels[-1] == 1280
    assert [head[0][0].in_channels for head in network.loc_heads] == [16, 16, 16, 32, 32]


def test_a_neck_learns_at_the_full_rate_while_the_backbone_is_frozen():
    network = SSD(small_model(**NECK), 4)
    network.freeze(19, batch_norm=True)
    optimizer = build_optimizer(network, OptimizerConfig(learning_rate=0.02, backbone_factor=0.1))
    rates = {id(p): group['lr'] for group in optimizer.param_groups for p in group['params']}
    neck = list(network.neck.parameters())
    assert len(neck) == 3 * 3 * (1 + 2)  # weight, scale and shift of a lateral and two filters
    assert {rates[id(p)] for p in neck} == {0.02}
    norms = [m for m in network.neck.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 9 and all(norm.training for norm in norms)


def test_a_folded_network_computes_the_same():
    network = small_network(**NECK)
    folded, x = fold_batch_norm(network), torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for found, expected in zip(folded(x), network(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


def test_a_neck_is_another_architecture():
    names = [small_run('d', model=model).arch_fingerprint() for model in (
        {}, NECK, {**NECK, 'neck_channels': 32})]
    assert len(set(names)) == 3


def test_models_from_before_there_were_necks_keep_their_fingerprint():
    config = TrainConfig(name='x', data={'root': 'r', 'train': ['a'], 'val': 'b'})
    assert config.arch_fingerprint() == '8762b947207b'  # as commit 3a64f92 made it


def test_channels_of_a_neck_without_one_are_refused():
    with pytest.raises(ConfigError, match='neck_channels has no effect with neck: none'):
        small_run('d', model={'neck_channels': 32})


class Noise:
    """Six images for calibration."""

    def __init__(self):
        self.images = iter(np.random.default_rng(1).integers(0, 256, (6, 1, *ODD_HW, 3), np.uint8))

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {'images': image}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The network, and a folder with float.onnx, cpu.onnx and tensorrt.onnx."""
    folder = tmp_path_factory.mktemp('neck')
    network = small_network(**NECK, input_size_hw=ODD_HW)
    export_onnx(backend_of(network), folder / 'float.onnx')  # compares with PyTorch
    for target in TARGETS:
        quantize_onnx(folder / 'float.onnx', folder / f'{target}.onnx', Noise(), target, 'minmax',
                      '')
    return network, folder


def backend_of(network):
    config = small_run('d', model={**NECK, 'input_size_hw': list(ODD_HW)})
    return TorchBackend(DeployModel(network, config.model), build_contract(config, None))


def test_the_file_resizes_by_constants_as_every_tensorrt_reads_it(files):
    model = onnx.load(files[1] / 'float.onnx')
    index = GraphIndex(model.graph)
    resizes = index.of_type('Resize')
    assert [index.constant(node, 2).tolist() for node in resizes] == [[1, 1, 2, 2]] * 2
    known = set(onnx.defs.get_schema('Resize', OPSET).attributes)
    assert all({item.name for item in node.attribute} <= known for node in resizes)


def test_a_network_can_begin_with_the_file(files):
    config = small_run('d', model={**NECK, 'input_size_hw': list(ODD_HW)})
    network = SSD(config.model, config.score_columns)
    report = load_network(network, files[1] / 'float.onnx', Scores(config.data.classes, False))
    assert 'random' not in report
    x = torch.randn(1, 3, *ODD_HW)
    with torch.inference_mode():
        for found, expected in zip(network.eval()(x), files[0](x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_what_had_a_neck_gives_backbone_and_extras_to_a_network_without(files):
    config = small_run('d', model={'input_size_hw': list(ODD_HW)})
    report = load_network(SSD(config.model, config.score_columns), files[1] / 'float.onnx',
                          Scores(config.data.classes, False))
    # three levels of both heads have another width
    assert report.count('other shapes') == 2 and 'backbone' not in report.partition(';')[2]


def test_its_float16_copy_keeps_the_scales_in_float32(files):
    half = to_float16(onnx.load(files[1] / 'float.onnx'), 'float.onnx')
    index = GraphIndex(half.graph)
    assert {index.constant(node, 2).dtype.name for node in index.of_type('Resize')} == {'float32'}
    assert index.constants['network.neck.laterals.0.0.weight'].dtype == np.float16


def test_a_coarse_map_stays_in_integers_up_to_the_addition(files):
    assert check_qdq(files[1] / 'tensorrt.onnx') == []
    index = GraphIndex(onnx.load(files[1] / 'tensorrt.onnx').graph)
    for node in index.of_type('Resize'):
        assert [reader.op_type for reader in index.readers(node)] == ['QuantizeLinear']
        assert [writer.op_type for writer in index.inputs(node)] == ['DequantizeLinear']
    sums = [sorted(writer.op_type for writer in index.inputs(node))
            for node in index.of_type('Add')]
    assert sums.count(['Conv', 'Slice']) == 2  # the lateral is not quantised before


@pytest.mark.parametrize('target', TARGETS)
def test_integers_answer_nearly_as_floats(files, target):
    images = np.random.default_rng(2).integers(0, 256, (2, *ODD_HW, 3), np.uint8)
    found, wanted = (open_backend('onnxruntime', files[1] / f'{name}.onnx', BackendOptions())
                     .infer(images)[1] for name in (target, 'float'))
    assert wanted.std() > 0.25  # scores that differ much: random weights of large gain
    assert np.abs(found - wanted).mean() < 0.1


def test_a_network_that_rounds_computes_what_the_file_computes(files):
    network, folder = files
    rounding = simulate_integers(network)
    assert load_ranges(rounding, folder / 'tensorrt.onnx') == 87  # 78 and 9 of the neck
    infer = infer_as_written((folder / 'tensorrt.onnx').read_bytes())
    difference = compare(infer, backend_of(rounding).infer, (1,), ODD_HW)
    assert difference.within(Difference(*[1e-5] * 4))
