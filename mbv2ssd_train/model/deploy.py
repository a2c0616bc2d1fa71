"""The network as exported: bytes in, boxes and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn, Tensor

from mbv2ssd_ros.core.priors import build_priors
from mbv2ssd_train.box_coder import decode_loc
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.ssd import SSD


class Normalisation(nn.Module):
    """Pixels 0 to 255, channels last, to the normalised input of the network."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and std of RGB pixels in [0, 1]."""
        super().__init__()
        scale = 1 / torch.tensor(std)
        offset = -torch.tensor(mean) * scale
        self.register_buffer('scale', (scale / 255).view(3, 1, 1), persistent=False)
        self.register_buffer('offset', offset.view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, 3, H, W) float32, channels_last in memory."""
        # The cast comes first: TensorRT takes uint8 as a graph input only.
        return images.float().permute(0, 3, 1, 2) * self.scale + self.offset


# Cast, layout and normalisation are inside, so that no caller can get them wrong.
class DeployModel(nn.Module):
    """The model contract's graph, from cast to box decoding; NMS and thresholds are outside."""

    def __init__(self, network: SSD, config: ModelConfig) -> None:
        """Wrap a trained network, uncopied, on its device; switch it to eval mode."""
        super().__init__()
        self.network = network
        self.normalise = Normalisation(config.mean, config.std)
        self.variances = config.variances
        priors = build_priors(config.prior_levels()).astype(np.float32)
        self.register_buffer('priors', torch.from_numpy(priors), persistent=False)
        self.to(next(network.parameters()).device)
        self.eval()

    def folded(self) -> DeployModel:
        return fold_batch_norm(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Map (B, H, W, 3) uint8 RGB to boxes (B, P, 4) xyxy in [0, 1] and scores (B, P, C), float32.

        Scores are a softmax with the background first, or a sigmoid for each class.
        """
        loc, conf_logits = self.network(self.normalise(images))
        boxes = decode_loc(loc.float(), self.priors, self.variances).clamp(0, 1)
        logits = conf_logits.float()
        return boxes, logits.sigmoid() if self.network.sigmoid else logits.softmax(dim=-1)
