"""What a network costs."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mbv2ssd_train.model.ssdlite import SSDLite


def count_parameters(network: SSDLite) -> int:
    """
    Count the numbers that are learnt.

    Args:
        network: of any kind.

    Returns:
        Parameters, frozen ones included.
    """
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: SSDLite, input_size_hw: tuple[int, int]) -> int:
    """
    Count the multiply-accumulates of the convolutions for one image.

    Args:
        network: not changed.
        input_size_hw: pixels.

    Returns:
        Multiply-accumulates; a floating point operation is half of one.
    """
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, *input_size_hw))
    finally:
        network.train(training)
    return counter.get_total_flops() // 2
