"""Hard negative mining: which of the many background priors take part in the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from mbv2ssd_train.config import LossConfig
from mbv2ssd_train.loss.assign.targets import BACKGROUND_LABEL
from mbv2ssd_train.loss.selection import on_host


def mine_hard_negatives(background_loss: Tensor, labels: Tensor, config: LossConfig) -> Tensor:
    """Return (B, P) bool, the negatives of largest loss (SSD, arXiv:1512.02325, section 2.2)."""
    negative = labels == BACKGROUND_LABEL
    candidates = background_loss.detach().masked_fill(~negative, -torch.inf)
    wanted = ((labels > 0).sum(dim=1) * config.neg_pos_ratio).long()
    # an image without positives contributes min_negatives: it teaches background
    wanted = wanted.clamp(config.min_negatives, config.max_negatives or None)
    wanted = torch.minimum(wanted, negative.sum(dim=1))
    hardest = candidates.topk(_longest(wanted, labels.shape[1]), dim=1).indices
    places = torch.arange(hardest.shape[1], device=labels.device)
    return torch.zeros_like(negative).scatter(1, hardest, places < wanted[:, None])


def _longest(counts: Tensor, bound: int) -> int:
    """Return the largest count; on a GPU, which would have to wait, its bound."""
    return int(counts.max()) if on_host(counts) else bound
