"""The backbone: torchvision's names and numbers."""

import pytest
import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.model.backbone import Taps
from mbv2ssd_train.model.mobilenet_v2 import make_divisible, MobileNetV2
from mbv2ssd_train.weights.start import load_backbone


@pytest.mark.parametrize('wanted, expected', [
    (32, 32), (11.2, 16), (8.4, 8), (5.6, 8), (33.6, 32), (36, 40), (67.2, 64), (112, 112),
    (12, 16), (1, 8)])
def test_channels_are_multiples_of_eight_never_a_tenth_below(wanted, expected):
    assert make_divisible(wanted) == expected


# of torchvision's mobilenet_v2(width_mult=...): first layer, blocks 1, 2, 4, 7, 11, 14, 17, last
@pytest.mark.parametrize('width_mult, expected', [
    (1.0, [32, 16, 24, 32, 64, 96, 160, 320, 1280]),
    (0.75, [24, 16, 24, 24, 48, 72, 120, 240, 1280]),
    (0.5, [16, 8, 16, 16, 32, 48, 80, 160, 1280]),
    (0.35, [16, 8, 8, 16, 24, 32, 56, 112, 1280]),
    (1.4, [48, 24, 32, 48, 88, 136, 224, 448, 1792])])
def test_channels_of_each_width(width_mult, expected):
    features = MobileNetV2(width_mult).features
    blocks = [features[index].conv[-2].out_channels for index in (1, 2, 4, 7, 11, 14, 17)]
    assert [features[0][0].out_channels, *blocks, features[18][0].out_channels] == expected


def test_has_as_many_parameters_as_torchvision_without_the_classifier():
    # torchvision's mobilenet_v2 has 3,504,872, of which the classifier 1,281,000
    assert sum(p.numel() for p in MobileNetV2().parameters()) == 2_223_872


def test_maps_of_a_wide_image_have_strides_8_16_and_32():
    maps = MobileNetV2(0.35, taps=Taps((7, 14))).eval()(torch.zeros(1, 3, 96, 160))
    assert [tuple(m.shape[1:]) for m in maps] == [(96, 12, 20), (192, 6, 10), (1280, 3, 5)]


def test_a_tap_is_the_expansion_layer_of_its_block():
    backbone = MobileNetV2(0.35, taps=Taps((7,))).eval()
    x = torch.randn(1, 3, 64, 96)
    tapped, _ = backbone(x)
    for layer in backbone.features[:7]:
        x = layer(x)
    conv, norm, act = backbone.features[7].conv[0]
    torch.testing.assert_close(tapped, act(norm(conv(x))), rtol=1e-4, atol=1e-5)


def test_a_tap_of_blocks_is_the_narrow_input_of_its_block():
    backbone = MobileNetV2(1.0, taps=Taps((7, 14), expanded=False)).eval()
    x = torch.randn(1, 3, 96, 160)
    maps = backbone(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 12, 20), (96, 6, 10), (1280, 3, 5)]
    torch.testing.assert_close(maps[1], backbone.features[:14](x))


def test_no_layer_is_narrower_than_the_least_depth():
    features = MobileNetV2(0.35, min_depth=16).features
    blocks = [features[index].conv[-2].out_channels for index in (1, 2, 4, 7, 11, 14, 17)]
    # without it 16, 8, 8, 16, 24, 32, 56, 112
    assert [features[0][0].out_channels, *blocks] == [16, 16, 16, 16, 24, 32, 56, 112]


@pytest.fixture
def shared_weights(shared_data):
    """Return the ImageNet weights."""
    return shared_data.parent / 'weights' / 'mobilenet_v2_1.0_imagenet.safetensors'


def test_every_key_of_the_imagenet_weights_is_ours(shared_weights):
    from safetensors import safe_open
    with safe_open(shared_weights, 'pt') as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()
                  if key.startswith('features.')}
    ours = {key: tuple(value.shape) for key, value in MobileNetV2().state_dict().items()}
    assert shapes == ours


def test_the_imagenet_weights_are_loaded(shared_weights):
    from safetensors.torch import load_file
    backbone = MobileNetV2()
    load_backbone(backbone, shared_weights)
    stored = load_file(shared_weights)
    for key in ('features.0.0.weight', 'features.9.conv.1.1.running_var',
                'features.18.1.bias'):
        torch.testing.assert_close(backbone.state_dict()[key], stored[key].float())


def test_weights_of_another_width_are_refused_in_a_line(shared_weights):
    with pytest.raises(DataError, match=r'other sizes .*model\.width_mult') as caught:
        load_backbone(MobileNetV2(0.5), shared_weights)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 500


def test_a_state_dict_saved_by_torch_is_loaded(tmp_path):
    source, target = MobileNetV2(0.35), MobileNetV2(0.35)
    weights = {**source.state_dict(), 'classifier.1.weight': torch.zeros(1000, 1280)}
    torch.save(weights, tmp_path / 'weights.pth')
    load_backbone(target, tmp_path / 'weights.pth')
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_weights_that_lack_a_layer_are_refused(tmp_path):
    weights = MobileNetV2(0.35).state_dict()
    del weights['features.3.conv.1.0.weight']
    torch.save(weights, tmp_path / 'weights.pth')
    with pytest.raises(DataError, match=r"weights\.pth.*missing \['features\.3\.conv\.1\.0\.wei"):
        load_backbone(MobileNetV2(0.35), tmp_path / 'weights.pth')


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r'nothing\.pth: no such weights; set model\.backbone_w'):
        load_backbone(MobileNetV2(0.35), tmp_path / 'nothing.pth')


@pytest.mark.parametrize('name', ['weights.pth', 'weights.safetensors'])
def test_a_file_that_holds_no_weights_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b'<html>not found</html>')
    with pytest.raises(DataError, match=f'{name}: cannot be read as weights'):
        load_backbone(MobileNetV2(0.35), tmp_path / name)
