"""What a wrong class costs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def background_loss(conf_logits: Tensor) -> Tensor:
    """
    Say how wrong it would be to call priors background, of a softmax with that class first.

    Args:
        conf_logits: (B, P, C).

    Returns:
        (B, P) cross entropy without smoothing: it orders the negatives, and with smoothing a
        prior that is background beyond doubt would count as wrong.
    """
    return conf_logits.logsumexp(dim=-1) - conf_logits[..., 0]


def one_hot(labels: Tensor, scores: Tensor, classes: int) -> Tensor:
    """
    Say what each class of each prior should score.

    Args:
        labels: (B, P) as in Targets.
        scores: (B, P), of the class of positive priors.
        classes: without background; label k is column k - 1.

    Returns:
        (B, P, classes), 0 but for the class of positive priors.
    """
    columns = (labels - 1).clamp(min=0)
    target = scores.new_zeros((*labels.shape, classes))
    return target.scatter_(2, columns[..., None], scores.where(labels > 0, 0.0)[..., None])


def focal_loss(conf_logits: Tensor, targets: Tensor, gamma: float, alpha: float | None = None
               ) -> Tensor:
    """
    Binary cross entropy in which what is nearly right counts little.

    With targets of 0 and 1 the focal loss (arXiv:1708.02002, eq. 5), with targets between them
    the quality focal loss (arXiv:2006.04388, eq. 3): |target - score| ** gamma weighs each term.

    Args:
        conf_logits: (..., C).
        targets: (..., C) in [0, 1].
        gamma: 0 for plain cross entropy.
        alpha: weight of targets of 1, 1 - alpha being that of 0; None weighs all alike.

    Returns:
        (..., C).
    """
    entropy = F.binary_cross_entropy_with_logits(conf_logits, targets, reduction='none')
    loss = (targets - conf_logits.sigmoid()).abs().pow(gamma) * entropy
    return loss if alpha is None else loss * (targets * alpha + (1 - targets) * (1 - alpha))
