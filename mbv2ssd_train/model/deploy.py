"""The network as it is handed over: bytes in, boxes and probabilities out."""

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
    """Pixels 0 to 255, channels last, to what the network was trained on."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """
        Keep the constants.

        Args:
            mean: of the red, green and blue of pixels in [0, 1].
            std: likewise.
        """
        super().__init__()
        scale = 1 / torch.tensor(std)
        offset = -torch.tensor(mean) * scale
        self.register_buffer('scale', (scale / 255).view(3, 1, 1), persistent=False)
        self.register_buffer('offset', offset.view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, 3, H, W) float32, channels_last in memory."""
        # The cast comes first: TensorRT takes uint8 at the door only.
        return images.float().permute(0, 3, 1, 2) * self.scale + self.offset


class DeployModel(nn.Module):
    """
    The graph of the model contract.

    Everything that could be got wrong outside is inside: cast, layout, normalisation, softmax or
    sigmoid, priors and box decoding. NMS and thresholds are not.
    """

    def __init__(self, network: SSD, config: ModelConfig) -> None:
        """
        Wrap a network.

        Args:
            network: trained; used as it is, in eval mode and on its device.
            config: that it was built from.
        """
        super().__init__()
        self.network = network
        self.normalise = Normalisation(config.mean, config.std)
        self.variances = config.variances
        priors = build_priors(config.prior_levels()).astype(np.float32)
        self.register_buffer('priors', torch.from_numpy(priors), persistent=False)
        self.to(next(network.parameters()).device)
        self.eval()

    def folded(self) -> DeployModel:
        """Copy the model with every BatchNorm folded into its convolution."""
        return fold_batch_norm(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Detect.

        Args:
            images: (B, H, W, 3) uint8 RGB.

        Returns:
            boxes (B, P, 4) float32 xyxy in [0, 1] and scores (B, P, C) float32, each row by
            softmax with the background first, or each score by itself where the network is so.
        """
        loc, conf_logits = self.network(self.normalise(images))
        boxes = decode_loc(loc.float(), self.priors, self.variances).clamp(0, 1)
        logits = conf_logits.float()
        return boxes, logits.sigmoid() if self.network.sigmoid else logits.softmax(dim=-1)
