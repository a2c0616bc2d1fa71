"""The loss of a batch, as the configuration has it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn, Tensor

from mbv2ssd_ros.core.priors import build_priors
from mbv2ssd_train.assign import assign
from mbv2ssd_train.box_coder import cxcywh_to_xyxy
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.batch import Batch
from mbv2ssd_train.loss import multibox_loss


@dataclass(frozen=True)
class LossSums:
    """The loss of each image, before anything is divided."""

    class_sums: Tensor  # (B,)
    box_sums: Tensor  # (B,)
    normaliser: Tensor  # (), what the loss of all images of a step is divided by
    positives: Tensor  # (B,) priors that learn an object
    negatives: Tensor  # (B,) priors that learn background


class Criterion(nn.Module):
    """Matching and loss."""

    def __init__(self, config: TrainConfig) -> None:
        """
        Choose matching and loss.

        Args:
            config: of the run.
        """
        super().__init__()
        self._config = config
        priors = torch.from_numpy(build_priors(config.model.prior_levels()))
        self.register_buffer('priors', priors, persistent=False)

    def forward(self, loc: Tensor, conf_logits: Tensor, batch: Batch) -> LossSums:
        """
        Compare predictions with the objects of a batch, in float32.

        Args:
            loc: (B, P, 4).
            conf_logits: (B, P, C).
            batch: images and objects.

        Returns:
            The loss of each image.
        """
        boxes, labels, difficult = (
            [rows[kept] for rows, kept in zip(field, batch.labels > 0, strict=True)]
            for field in (batch.boxes_xyxy, batch.labels, batch.difficult))
        targets = assign(cxcywh_to_xyxy(self.priors), boxes, labels, difficult, self._config.match)
        loss = multibox_loss(loc, conf_logits, targets, self.priors,
                             self._config.model.variances, self._config.loss)
        positives = (targets.labels > 0).sum(dim=1)
        return LossSums(loss.image_totals, torch.zeros_like(loss.image_totals), positives.sum(),
                        positives, positives)
