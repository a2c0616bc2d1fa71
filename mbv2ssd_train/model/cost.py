"""Parameters and multiply-accumulates of a network."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(network: nn.Module) -> int:
    """Count the parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, input_size_hw: tuple[int, int]) -> int:
    """Count the multiply-accumulates (half the FLOPs) of the convolutions for one image."""
    training, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, *input_size_hw, device=device))
    finally:
        network.train(training)
    return counter.get_total_flops() // 2
