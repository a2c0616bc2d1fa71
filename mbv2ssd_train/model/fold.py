"""BatchNorm folded into the convolutions, for a network that no longer learns."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mbv2ssd_train.model.layers import ConvNormAct
from mbv2ssd_train.model.mobilenet_v2 import InvertedResidual

Network = TypeVar('Network', bound=nn.Module)


def fold_batch_norm(network: Network) -> Network:
    """
    Copy a network, every convolution and its BatchNorm being one convolution.

    Args:
        network: not changed.

    Returns:
        A network in eval mode that computes the same, without BatchNorm.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if isinstance(module, ConvNormAct):
            _fold_pair(module, 0)
        elif isinstance(module, InvertedResidual):
            _fold_pair(module.conv, len(module.conv) - 2)
    return folded


def _fold_pair(layers: nn.Sequential, index: int) -> None:
    layers[index] = fuse_conv_bn_eval(layers[index], layers[index + 1])
    layers[index + 1] = nn.Identity()
