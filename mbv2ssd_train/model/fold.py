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
    """
    Copy a network, every convolution and its BatchNorm being one convolution.

    Args:
        network: not changed.

    Returns:
        A network in eval mode that computes the same, without BatchNorm.
    """
    folded = copy.deepcopy(network).eval()
    for _, layers, index in list(conv_norm_pairs(folded)):
        layers[index] = fuse_conv_bn_eval(layers[index], layers[index + 1])
        layers[index + 1] = nn.Identity()
    return folded


def unfold_batch_norm(network: nn.Module, folded: Mapping[str, Tensor]) -> None:
    """
    Put the weights of a folded network into one with BatchNorm, which then computes the same.

    Each BatchNorm takes over the bias and leaves everything else as it is, so the network must
    learn with frozen statistics.

    Args:
        network: changed.
        folded: weights and biases of fold_batch_norm(network), by name.

    Raises:
        KeyError: a layer is missing.
        RuntimeError: a layer has another size.
    """
    for prefix, layers, index in conv_norm_pairs(network):
        norm = layers[index + 1]
        layers[index].load_state_dict({'weight': folded[f'{prefix}.{index}.weight']})
        norm.load_state_dict({
            'weight': torch.ones_like(norm.weight), 'bias': folded[f'{prefix}.{index}.bias'],
            'running_mean': torch.zeros_like(norm.running_mean),
            'running_var': torch.full_like(norm.running_var, 1 - norm.eps),
            'num_batches_tracked': torch.zeros_like(norm.num_batches_tracked)})


def conv_norm_pairs(network: nn.Module) -> Iterator[tuple[str, nn.Sequential, int]]:
    """
    Find the convolutions that a BatchNorm follows.

    Args:
        network: keeps each such pair in one Sequential, as the layers of this package do.

    Yields:
        Name and object of the sequence that holds both, and the place of the convolution in it.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for index, (layer, following) in enumerate(pairwise(module)):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    yield name, module, index
