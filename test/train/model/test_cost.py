"""Parameters and multiply-accumulates."""

import pytest

from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.model.cost import count_macs, count_parameters
from mbv2ssd_train.model.ssd import SSD


@pytest.fixture(scope='module')
def network():
    return SSD(ModelConfig(input_size_hw=(64, 128)), 21)


def conv_macs(kernel, channels_in, channels_out, cells, groups=1):
    return kernel * kernel * channels_in // groups * channels_out * cells


def test_the_macs_of_a_twice_as_large_map_are_twice_as_many(network):
    # from 256 rows on every map halves evenly, down to 1 row
    assert count_macs(network, (512, 512)) == 2 * count_macs(network, (256, 512))


def test_a_head_costs_what_its_convolutions_cost(network):
    half = SSD(ModelConfig(input_size_hw=(64, 128)), 2)
    cells_and_channels = [(8 * 16, 192), (4 * 8, 576), (2 * 4, 1280), (1 * 2, 512),
                          (1 * 1, 256), (1 * 1, 256)]
    # 19 classes less, six shapes each, in the 1x1 convolution of every level
    expected = sum(conv_macs(1, channels, 19 * 6, cells) for cells, channels in cells_and_channels)
    assert count_macs(network, (64, 128)) - count_macs(half, (64, 128)) == expected


def test_counting_leaves_the_mode_of_the_network_alone(network):
    network.train()
    count_macs(network, (64, 128))
    assert network.training and all(part.training for part in network.modules())


def test_parameters_of_the_default_network():
    # 2,223,872 of torchvision's mobilenet_v2 features, the rest extras and heads
    network = SSD(ModelConfig(), 21)
    backbone = sum(p.numel() for p in network.backbone.parameters())
    assert (backbone, count_parameters(network)) == (2_223_872, 3_384_452)
