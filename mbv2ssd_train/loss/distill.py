"""
What it costs to answer otherwise than the teacher.

The teacher's class scores are targets that say more than labels do (Hinton et al.,
arXiv:1503.02531). For detectors see Chen et al., "Learning efficient object detection models with
knowledge distillation" (NIPS 2017): there the boxes of the teacher are a hint where it sees
objects, and no more than that elsewhere. A float network as the teacher of the one that rounds is
how networks in integers are commonly fine-tuned (Mishra and Marr, arXiv:1711.05852).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.config import DistillConfig
from mbv2ssd_train.loss.criterion import LossSums


def add_up(loss: LossSums, taught: LossSums, weight: float) -> LossSums:
    """
    Learn from objects and teacher at once.

    Args:
        loss: of the objects.
        taught: of the teacher.
        weight: of the teacher.

    Returns:
        The loss of both; the normaliser and the counts are those of the objects.
    """
    return dataclasses.replace(
        loss, class_sums=loss.class_sums + weight * taught.class_sums,
        box_sums=loss.box_sums + weight * taught.box_sums,
        teacher_sums=weight * taught.teacher_sums)


class Distillation(nn.Module):
    """Compares the answers of two networks to the same images, prior by prior."""

    def __init__(self, config: DistillConfig, sigmoid: bool) -> None:
        """
        Choose what is compared.

        Args:
            config: of the run.
            sigmoid: each class is scored by itself; else they share a softmax.
        """
        super().__init__()
        self._config, self._sigmoid = config, sigmoid

    def forward(self, loc: Tensor, conf_logits: Tensor, teacher_loc: Tensor,
                teacher_logits: Tensor) -> LossSums:
        """
        Compare, in float32.

        The class loss of a prior is the Kullback-Leibler divergence from the teacher, times the
        square of the temperature so that its gradient keeps its size; it is 0 where both agree.

        Args:
            loc: (B, P, 4) of the network that learns.
            conf_logits: (B, P, C) likewise.
            teacher_loc: (B, P, 4), without gradient.
            teacher_logits: (B, P, C), without gradient.

        Returns:
            The loss of each image. The priors in which the teacher sees an object are its
            positives, and their number is the normaliser; the negatives are the other priors
            whose class scores are compared.
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
        """(B, P) bool, the priors with a class that is likely enough."""
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
