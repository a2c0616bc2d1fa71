"""The multibox loss of SSD (arXiv:1512.02325), eq. 1 to 3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mbv2ssd_train.assign import IGNORED_LABEL, mine_hard_negatives, Targets
from mbv2ssd_train.box_coder import encode_loc, Variances, xyxy_to_cxcywh
from mbv2ssd_train.config import LossConfig


@dataclass(frozen=True)
class MultiboxLoss:
    """The loss of one batch; all sums are divided by its positives, at least 1."""

    class_loss: Tensor  # ()
    box_loss: Tensor  # ()
    total: Tensor  # (), what is minimised
    image_totals: Tensor  # (B,), detached: names the image when something is not finite
    positives: int
    negatives: int


def multibox_loss(loc: Tensor, conf_logits: Tensor, targets: Targets, priors: Tensor,
                  variances: Variances, config: LossConfig) -> MultiboxLoss:
    """
    Compare predictions with targets, in float32 whatever the network computed in.

    Softmax cross entropy over positives and hard negatives, smooth L1 over the positives'
    offsets.

    Args:
        loc: (B, P, 4).
        conf_logits: (B, P, C).
        targets: what each prior should predict.
        priors: (P, 4) cxcywh.
        variances: of the box coding.
        config: ratio of negatives, weight of the box loss.

    Returns:
        The loss and its parts.
    """
    loc, conf_logits = loc.float(), conf_logits.float()
    positive = targets.labels > 0
    per_prior = F.cross_entropy(
        conf_logits.transpose(1, 2), targets.labels, reduction='none',
        ignore_index=IGNORED_LABEL)  # (B, P)
    # for a negative prior its cross entropy is the loss of calling it background
    negative = mine_hard_negatives(per_prior, targets.labels, config.neg_pos_ratio)
    class_sums = (per_prior * (positive | negative)).sum(dim=1)  # (B,)
    image, prior = torch.nonzero(positive, as_tuple=True)
    wanted = encode_loc(
        xyxy_to_cxcywh(targets.boxes_xyxy[image, prior]), priors[prior], variances)
    per_positive = F.smooth_l1_loss(loc[image, prior], wanted, reduction='none').sum(dim=1)
    box_sums = torch.zeros_like(class_sums).index_add(0, image, per_positive)  # (B,)
    positives = len(image)
    image_totals = class_sums + config.box_weight * box_sums
    norm = max(positives, 1)
    return MultiboxLoss(
        class_sums.sum() / norm, box_sums.sum() / norm, image_totals.sum() / norm,
        image_totals.detach(), positives, int(negative.sum()))
