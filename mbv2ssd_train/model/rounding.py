"""Where a network rounds that learns with the integers of a file for TensorRT."""

from __future__ import annotations

from torch import nn

from mbv2ssd_train.model.fake_quantise import add_quantisers, add_weight_quantisers
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.mobilenet_v3 import SqueezeExcitation
from mbv2ssd_train.model.ssd import SSD


def quantised_layers(network: SSD) -> list[str]:
    """
    Name the convolutions that a file for TensorRT computes in integers.

    Args:
        network: of any architecture.

    Returns:
        All but those of squeeze-and-excitation, as quantize.placement has it; load_ranges makes
        sure of that.
    """
    kept = {id(part) for module in network.modules() if isinstance(module, SqueezeExcitation)
            for part in module.modules()}
    return [name for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d) and id(module) not in kept]


def simulate_integers(network: SSD) -> SSD:
    """
    Make a network that rounds where a file for TensorRT does.

    Args:
        network: with BatchNorm; not changed.

    Returns:
        A copy, BatchNorm folded into its convolutions, whose ranges are to be loaded.
    """
    folded = fold_batch_norm(network)
    skips = [name for name, module in folded.named_modules()
             if getattr(module, 'skip', False)]
    return add_quantisers(folded, quantised_layers(folded), skips)


def simulate_integer_weights(network: SSD) -> SSD:
    """
    Make a network whose weights are rounded as in a file for a CPU, and whose maps are not.

    Args:
        network: with BatchNorm; not changed.

    Returns:
        A copy, BatchNorm folded into its convolutions.
    """
    folded = fold_batch_norm(network)
    return add_weight_quantisers(folded, quantised_layers(folded))
