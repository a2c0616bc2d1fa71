"""A backbone begins where a model of ours ended."""


import pytest
import torch

from helpers.paths import ROOT
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.model.backbone import Taps
from mbv2ssd_train.model.fold import fold_batch_norm, unfold_batch_norm
from mbv2ssd_train.model.mobilenet_v2 import MobileNetV2
from mbv2ssd_train.weights.start import load_backbone

SHIPPED = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    network = MobileNetV2(0.35, taps=Taps((7, 14))).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics of a network that has learnt
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.uniform_(-1, 1)
    return network


def test_unfolding_into_a_fresh_backbone_gives_the_same_features(backbone):
    fresh = MobileNetV2(0.35, taps=Taps((7, 14))).eval()
    folded = dict(fold_batch_norm(backbone).named_parameters())
    fresh.load_state_dict(unfold_batch_norm(fresh, folded), strict=False)
    image = torch.rand(1, 3, 64, 96)
    for found, expected in zip(fresh(image), backbone(image), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_exported_weights_of_the_shipped_model_are_loaded():
    backbone = MobileNetV2(1.0, tensorflow_padding=True)
    before = backbone.state_dict()['features.9.conv.1.0.weight'].clone()
    load_backbone(backbone, SHIPPED)
    assert not torch.equal(backbone.state_dict()['features.9.conv.1.0.weight'], before)
    assert torch.equal(backbone.state_dict()['features.9.conv.1.1.running_mean'],
                       torch.zeros(384))


def test_a_backbone_of_another_width_is_refused():
    with pytest.raises(DataError, match=r'other sizes .*model\.width_mult'):
        load_backbone(MobileNetV2(0.5), SHIPPED)


def test_an_onnx_file_that_is_none_is_named(tmp_path, backbone):
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'no model at all')
    with pytest.raises(DataError, match='model.onnx'):
        load_backbone(backbone, path)


def test_an_onnx_file_of_another_network_is_refused(tmp_path, backbone):
    from helpers.tiny_model import write_tiny_model
    with pytest.raises(DataError, match=r'has no backbone layer .*features\.0\.0\.weight'):
        load_backbone(backbone, write_tiny_model(tmp_path / 'tiny.onnx'))
