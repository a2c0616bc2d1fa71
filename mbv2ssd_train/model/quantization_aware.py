"""Which layers of a network are fake-quantized for quantization-aware training."""

from __future__ import annotations

from torch import nn

from mbv2ssd_train.model.fake_quantise import add_quantisers, add_weight_quantisers
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.mobilenet_v3 import SqueezeExcitation
from mbv2ssd_train.model.ssd import SSD


def quantised_layers(network: SSD) -> list[str]:
    """
    Name the convolutions that an INT8 file quantizes: all but squeeze-and-excitation.

    As quantize/placement.py has them; load_ranges checks that the file has the same.
    """
    kept = {id(part) for module in network.modules() if isinstance(module, SqueezeExcitation)
            for part in module.modules()}
    return [name for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d) and id(module) not in kept]


def simulate_integers(network: SSD) -> SSD:
    """Copy a network, BatchNorm folded, as a file for TensorRT quantizes it; load ranges next."""
    folded = fold_batch_norm(network)
    skips = [name for name, module in folded.named_modules()
             if getattr(module, 'skip', False)]
    return add_quantisers(folded, quantised_layers(folded), skips)


def simulate_integer_weights(network: SSD) -> SSD:
    """Copy a network, BatchNorm folded, with the weights of a file for a CPU and float maps."""
    folded = fold_batch_norm(network)
    return add_weight_quantisers(folded, quantised_layers(folded))
