"""Class losses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def background_loss(conf_logits: Tensor) -> Tensor:
    """Return the cross entropy (B, P) of background, the first of (B, P, C) logits."""
    # without label smoothing: it orders the negatives, and a certain background must cost nothing
    return conf_logits.logsumexp(dim=-1) - conf_logits[..., 0]


def one_hot(labels: Tensor, scores: Tensor, classes: int) -> Tensor:
    """Return (B, P, classes): scores (B, P) in column label - 1 of positives, 0 elsewhere."""
    columns = (labels - 1).clamp(min=0)
    target = scores.new_zeros((*labels.shape, classes))
    return target.scatter_(2, columns[..., None], scores.where(labels > 0, 0.0)[..., None])


def focal_loss(conf_logits: Tensor, targets: Tensor, gamma: float, alpha: float | None = None
               ) -> Tensor:
    """
    Focal loss (arXiv:1708.02002, eq. 5); quality focal (arXiv:2006.04388, eq. 3) between 0 and 1.

    |target - score| ** gamma weighs the binary cross entropy of (..., C) logits and targets.
    Targets of 1 have the weight alpha, those of 0 have 1 - alpha; None weighs all alike.
    """
    entropy = F.binary_cross_entropy_with_logits(conf_logits, targets, reduction='none')
    loss = (targets - conf_logits.sigmoid()).abs().pow(gamma) * entropy
    return loss if alpha is None else loss * (targets * alpha + (1 - targets) * (1 - alpha))
