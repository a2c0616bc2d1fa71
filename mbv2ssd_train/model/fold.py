"""BatchNorm folded into the convolutions, for a network that no longer learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn, Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar('Network', bound=nn.Module)


def fold_batch_norm(network: Network) -> Network:
    """Copy a network in eval mode, each BatchNorm folded into its convolution; same outputs."""
    folded = copy.deepcopy(network).eval()
    for _, layers, index in list(conv_norm_pairs(folded)):
        layers[index] = fuse_conv_bn_eval(layers[index], layers[index + 1])
        layers[index + 1] = nn.Identity()
    return folded


def unfold_batch_norm(network: nn.Module, folded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Turn weights of fold_batch_norm(network) into weights of `network` with the same outputs.

    Each BatchNorm takes the bias of its convolution and is otherwise the identity, so a network
    with these weights must learn with frozen statistics. Layers may be missing in `folded`.
    """
    weights = dict(folded)
    for prefix, layers, index in conv_norm_pairs(network):
        bias = weights.pop(f'{prefix}.{index}.bias', None)
        if bias is not None:
            norm = f'{prefix}.{index + 1}'
            weights[f'{norm}.weight'] = torch.ones_like(bias)
            weights[f'{norm}.bias'] = bias
            weights[f'{norm}.running_mean'] = torch.zeros_like(bias)
            weights[f'{norm}.running_var'] = torch.full_like(bias, 1 - layers[index + 1].eps)
    return weights


def conv_norm_pairs(network: nn.Module) -> Iterator[tuple[str, nn.Sequential, int]]:
    """Yield name and object of a Sequential, and the index in it of a Conv2d before BatchNorm."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for index, (layer, following) in enumerate(pairwise(module)):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    yield name, module, index
