"""The loss of a batch, as the configuration has it."""

from __future__ import annotations

from dataclasses import dataclass
import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.loss.assign.atss import assign_by_atss
from mbv2ssd_train.loss.assign.iou import assign_by_iou
from mbv2ssd_train.loss.assign.targets import BACKGROUND_LABEL, PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.assign.task_aligned import assign_by_alignment
from mbv2ssd_train.loss.box_loss import box_loss, decode_within_reason
from mbv2ssd_train.loss.class_loss import background_loss, focal_loss, one_hot
from mbv2ssd_train.loss.mining import mine_hard_negatives
from mbv2ssd_train.loss.overlap import iou
from mbv2ssd_train.loss.selection import on_host, Selection

_CACHED = 2 ** 18  # values of (images, objects, priors) that fit the cache of a CPU


@dataclass(frozen=True)
class LossSums:
    """The loss of each image, before normalisation."""

    class_sums: Tensor  # (B,)
    box_sums: Tensor  # (B,), weighted by box_weight
    # number of positives; with quality_focal the sum of their target scores, which also weigh
    # their box losses; without gradient, may be 0
    normaliser: Tensor  # (), divisor of the loss of all images of a step
    positives: Tensor  # (B,) int64, priors that learn an object
    negatives: Tensor  # (B,) int64, priors that learn background
    teacher_sums: Tensor  # (B,), the teacher's part of both


class Criterion(nn.Module):
    """Matching and loss, in float32 on the device of the predictions, without waiting for it."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self._model, self._match, self._loss = config.model, config.match, config.loss
        self._columns = config.score_columns
        self._sigmoid = config.sigmoid_scores
        self._warmup = config.loss.quality_warmup
        self.progress = 1.0  # of the run, in [0, 1]; set by the trainer
        self._priors: dict[tuple[tuple[int, int], torch.device], PriorBoxes] = {}

    def forward(self, loc: Tensor, conf_logits: Tensor, batch: Batch) -> LossSums:
        """
        Compare loc (B, P, 4) and conf_logits (B, P, C) with the objects of a batch.

        C counts the background with cross_entropy only. ShapeError: the predictions are not for
        the priors of this image size, or not for the classes of the configuration.
        """
        priors = self.priors_for(batch)
        self._check_shapes(loc, conf_logits, priors, batch)
        loc, conf_logits = loc.float(), conf_logits.float()
        objects = PaddedObjects.of(batch)
        targets = self.assign(loc, conf_logits, batch)
        positive = Selection(targets.positive)
        found, wanted, own_priors = self._boxes(loc, positive, priors, objects, targets)
        quality = self._quality(found, wanted, own_priors, positive, targets)
        class_sums, negatives = self._class_sums(conf_logits, targets, positive, quality)
        box_losses = quality * box_loss(
            found, wanted, own_priors, self._model.variances, self._loss)
        return LossSums(
            class_sums, self._loss.box_weight * positive.image_sums(box_losses),
            quality.sum(), targets.positive.sum(dim=1), negatives,
            torch.zeros_like(class_sums))

    def priors_for(self, batch: Batch) -> PriorBoxes:
        """Return the cached priors for the size and device of a batch's images."""
        height, width = batch.images.shape[1:3]
        key = ((height, width), batch.images.device)
        if key not in self._priors:
            levels = self._model.prior_levels((height, width))
            self._priors[key] = PriorBoxes.of(levels, *key)
        return self._priors[key]

    @torch.no_grad()
    def assign(self, loc: Tensor, conf_logits: Tensor, batch: Batch) -> Targets:
        """Assign objects to priors; only task_aligned reads loc and conf_logits (float32)."""
        priors = self.priors_for(batch)
        count = math.ceil(batch.labels.numel() * len(priors.xyxy) / _CACHED)
        parts = batch.parts(max(count, 1) if on_host(loc) else 1)
        sizes = [len(part) for part in parts]
        return Targets.join([
            self._assign_part(*part, priors) for part in zip(
                loc.split(sizes), conf_logits.split(sizes), map(PaddedObjects.of, parts),
                strict=True)])

    def _assign_part(self, loc: Tensor, conf_logits: Tensor, objects: PaddedObjects,
                     priors: PriorBoxes) -> Targets:
        if self._match.method == 'iou':
            return assign_by_iou(priors, objects, self._match)
        if self._match.method == 'atss':
            return assign_by_atss(priors, objects, self._match)
        predicted = decode_within_reason(loc, priors.cxcywh, self._model.variances)
        scores = conf_logits.sigmoid() if self._sigmoid else conf_logits.softmax(dim=-1)[..., 1:]
        return assign_by_alignment(priors, objects, predicted, scores, self._match)

    def _boxes(self, loc: Tensor, positive: Selection, priors: PriorBoxes, objects: PaddedObjects,
               targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Return offsets, target boxes (xyxy) and priors (cxcywh) of positives, in pixels."""
        places = objects.boxes_xyxy.shape[1]
        own_priors = priors.cxcywh[positive.priors] * priors.side_px
        index = positive.images * places + positive.of(targets.objects, 0)
        wanted = objects.boxes_xyxy.flatten(0, 1)[index] * priors.side_px
        # a row that does not count has its own prior as target: no loss, finite gradients
        wanted = positive.only(wanted, priors.xyxy[positive.priors] * priors.side_px)
        return positive.of(loc), wanted, own_priors

    @torch.no_grad()
    def _quality(self, found: Tensor, wanted: Tensor, own_priors: Tensor, positive: Selection,
                 targets: Targets) -> Tensor:
        """(K,) target scores of positives."""
        whole = positive.chosen.float()
        if self._loss.classification != 'quality_focal':
            return whole
        if targets.alignment is not None:
            quality = positive.of(targets.alignment)
        else:
            boxes = decode_within_reason(found, own_priors, self._model.variances)
            quality = positive.only(iou(boxes, wanted))
        if self.progress < self._warmup:  # boxes are still poor
            quality = whole.lerp(quality, self.progress / self._warmup)
        return quality

    def _class_sums(self, conf_logits: Tensor, targets: Targets, positive: Selection,
                    quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return class losses (B,) and counts of negatives (B,)."""
        if not self._sigmoid:
            return self._cross_entropy(conf_logits, targets)
        config = self._loss
        wanted = one_hot(targets.labels, positive.scatter(quality), self._columns)
        learning = targets.labels >= BACKGROUND_LABEL
        losses = focal_loss(
            conf_logits.where(learning[..., None], 0.0), wanted, config.focal_gamma,
            config.focal_alpha if config.classification == 'focal' else None).sum(dim=-1)
        return ((losses * learning).sum(dim=1),
                (targets.labels == BACKGROUND_LABEL).sum(dim=1))

    def _cross_entropy(self, conf_logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        negative = mine_hard_negatives(
            background_loss(conf_logits.detach()), targets.labels, self._loss)
        chosen = Selection(targets.positive | negative)
        losses = F.cross_entropy(
            chosen.of(conf_logits), chosen.of(targets.labels, BACKGROUND_LABEL),
            reduction='none', label_smoothing=self._loss.label_smoothing)
        return chosen.image_sums(chosen.only(losses)), negative.sum(dim=1)

    def _check_shapes(self, loc: Tensor, conf_logits: Tensor, priors: PriorBoxes, batch: Batch
                      ) -> None:
        expected = (len(batch), len(priors.xyxy))
        for name, found, last in (('loc', loc, 4), ('conf_logits', conf_logits, self._columns)):
            if found.shape != (*expected, last):
                counts = ', '.join(str(level.count) for level in priors.levels)
                raise ShapeError(
                    f'{name} is {tuple(found.shape)}, expected {(*expected, last)}: images of '
                    f'{priors.input_size_hw} pixels have {expected[1]} priors ({counts}), and '
                    f'{self._loss.classification} scores {self._columns} columns. Was the '
                    'network built from this configuration?')
