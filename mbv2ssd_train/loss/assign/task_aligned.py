"""Task-aligned assignment: priors whose predictions fit an object learn it (arXiv:2108.07755)."""

from __future__ import annotations

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.iou import near_objects, resolve_conflicts, UNASSIGNED
from mbv2ssd_train.loss.assign.targets import NO_OBJECT, PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.overlap import pairwise_iou


def assign_by_alignment(priors: PriorBoxes, objects: PaddedObjects, predicted_xyxy: Tensor,
                        scores: Tensor, config: MatchConfig) -> Targets:
    """
    Match priors by decoded boxes (B, P, 4) and scores (B, P, K), without gradient or background.

    TOOD, section 3.2: the alignment of a prior with an object is score ** alpha * IoU ** beta, of
    its score for the object's class and its decoded box. Of the priors with their centre in the
    object the best aligned are positive; of several objects the one with the largest IoU gets the
    prior. The target score is the alignment, scaled so that an object's best one is the object's
    largest IoU. Not in the paper: an object without a prior takes the free one that overlaps it
    most; their IoU is the target score. Near difficult objects a prior learns nothing.
    """
    prior_iou = pairwise_iou(objects.boxes_xyxy, priors.xyxy)  # (B, N, P)
    ignored = near_objects(prior_iou * objects.difficult[:, :, None], objects.difficult,
                           config.ignore_iou)
    iou = pairwise_iou(objects.boxes_xyxy, predicted_xyxy)
    alignment = (_scores_of_objects(scores, objects).pow_(config.score_power)
                 * iou.pow(config.iou_power))
    allowed = priors.centres_inside(objects.boxes_xyxy) & objects.learnt[:, :, None]
    best, which = alignment.where(allowed, UNASSIGNED).topk(
        min(config.aligned_priors, alignment.shape[2]), dim=2)  # (B, N, K)
    proposed_iou = torch.full_like(iou, UNASSIGNED).scatter(
        2, which, iou.gather(2, which).where(best > 0, UNASSIGNED))
    owners, rescued = resolve_conflicts(proposed_iou, prior_iou, objects)
    scaled = _scale(_of_owner(alignment, owners), _of_owner(iou, owners), owners, objects)
    wanted = torch.where(rescued, _of_owner(prior_iou, owners), scaled)
    return Targets.of(owners, ignored, objects, wanted)


def _scores_of_objects(scores: Tensor, objects: PaddedObjects) -> Tensor:
    """(B, N, P) each prior's score for the class of each object."""
    columns = (objects.labels - 1).clamp(min=0)
    return scores.transpose(1, 2).gather(
        1, columns[:, :, None].expand(-1, -1, scores.shape[1]))


def _of_owner(values: Tensor, owners: Tensor) -> Tensor:
    """(B, P) of (B, N, P): each prior's value for its owner, 0 without one."""
    own = values.gather(1, owners.clamp(min=0)[:, None])[:, 0]
    return own.where(owners > NO_OBJECT, 0.0)


def _scale(alignment: Tensor, iou: Tensor, owners: Tensor, objects: PaddedObjects) -> Tensor:
    """Scale (B, P) alignments so that each object's best one is its largest IoU."""
    best_alignment, best_iou = (
        torch.zeros_like(objects.labels, dtype=values.dtype).scatter_reduce(
            1, owners.clamp(min=0), values, 'amax')
        for values in (alignment, iou))  # (B, N)
    factor = best_iou / best_alignment.clamp(min=torch.finfo(alignment.dtype).tiny)
    return (alignment * factor.gather(1, owners.clamp(min=0))).clamp(max=1.0)
