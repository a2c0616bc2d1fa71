"""
The loss of disagreeing with the teacher.

The teacher's class scores are richer targets than labels (Hinton et al., arXiv:1503.02531). For
detectors see Chen et al., "Learning efficient object detection models with knowledge distillation"
(NIPS 2017): the boxes of the teacher are a hint only where it sees objects. A float teacher is
common in fine-tuning quantised networks (Mishra and Marr, arXiv:1711.05852).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.config import DistillConfig
from mbv2ssd_train.loss.criterion import LossSums


def add_up(loss: LossSums, taught: LossSums, weight: float) -> LossSums:
    """Add the weighted loss of the teacher; normaliser and counts stay those of the objects."""
    return dataclasses.replace(
        loss, class_sums=loss.class_sums + weight * taught.class_sums,
        box_sums=loss.box_sums + weight * taught.box_sums,
        teacher_sums=weight * taught.teacher_sums)


class Distillation(nn.Module):
    """Compares the predictions of two networks for the same images, prior by prior."""

    def __init__(self, config: DistillConfig, sigmoid: bool) -> None:
        super().__init__()
        self._config, self._sigmoid = config, sigmoid

    def forward(self, loc: Tensor, conf_logits: Tensor, teacher_loc: Tensor,
                teacher_logits: Tensor) -> LossSums:
        """
        Compare (B, P, 4) offsets and (B, P, C) logits, in float32; the teacher's have no gradient.

        The class loss is the Kullback-Leibler divergence from the teacher times temperature ** 2,
        so that the gradient keeps its size. Positives, and the normaliser, are the priors where
        the teacher sees an object; negatives are the others whose class scores are compared.
        """
        loc, conf_logits = loc.float(), conf_logits.float()
        teacher_loc, teacher_logits = teacher_loc.float(), teacher_logits.float()
        sure = self._sees_an_object(teacher_logits)
        compared = torch.ones_like(sure) if self._config.priors == 'all' else \
            sure | self._sees_an_object(conf_logits)
        divergences = self._divergence(conf_logits, teacher_logits) * compared
        distances = F.smooth_l1_loss(loc, teacher_loc, reduction='none').sum(dim=-1) * sure
        class_sums = divergences.sum(dim=1)
        box_sums = self._config.box_weight * distances.sum(dim=1)
        return LossSums(
            class_sums, box_sums, sure.sum().float(), sure.sum(dim=1),
            (compared & ~sure).sum(dim=1), class_sums + box_sums)

    @torch.no_grad()
    def _sees_an_object(self, conf_logits: Tensor) -> Tensor:
        """(B, P) bool, priors with a score of at least `confident`."""
        scores = conf_logits.sigmoid() if self._sigmoid else conf_logits.softmax(dim=-1)[..., 1:]
        return scores.amax(dim=-1) >= self._config.confident

    def _divergence(self, conf_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """(B, P) Kullback-Leibler divergence, summed over classes."""
        found, wanted = (logits / self._config.temperature
                         for logits in (conf_logits, teacher_logits))
        if self._sigmoid:
            share = wanted.sigmoid()
            terms = (F.binary_cross_entropy_with_logits(found, share, reduction='none')
                     - F.binary_cross_entropy_with_logits(wanted, share, reduction='none'))
        else:
            terms = F.kl_div(found.log_softmax(dim=-1), wanted.log_softmax(dim=-1),
                             reduction='none', log_target=True)
        return self._config.temperature ** 2 * terms.sum(dim=-1)
