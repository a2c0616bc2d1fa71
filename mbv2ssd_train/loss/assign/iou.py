"""
Which prior learns which object: the matching of SSD, and what all methods share.

Everything is computed for a whole batch at once, on (B, N, P) tensors: images, places for
objects, priors. Nothing asks the device for a value, so that a GPU never waits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.targets import NOBODY, PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.overlap import pairwise_iou

NO_CLAIM = -1.0  # instead of an IoU


def assign_by_iou(priors: PriorBoxes, objects: PaddedObjects, config: MatchConfig) -> Targets:
    """
    Match priors by their overlap with objects.

    SSD (arXiv:1512.02325), section 2.2: a prior takes the object it overlaps most if their IoU
    reaches match_iou, and every object gets the prior that overlaps it most. Between ignore_iou
    and match_iou, and on difficult objects, a prior learns nothing.

    Args:
        priors: P of them.
        objects: of the batch.
        config: thresholds.

    Returns:
        What each prior should predict.
    """
    iou = pairwise_iou(objects.boxes_xyxy, priors.xyxy)  # (B, N, P)
    ignored = near_objects(iou, objects.real, config.ignore_iou)
    iou.mul_(objects.learnt[:, :, None])
    best_iou, best_object = iou.max(dim=1)
    owners = torch.where(best_iou >= config.match_iou, best_object, NOBODY)
    if config.center_in_object:
        inside = priors.centres_inside(objects.boxes_xyxy)
        owners = owners.where(inside.gather(1, best_object[:, None])[:, 0], NOBODY)
    forced = strongest_claims(iou, objects.learnt)
    owners = torch.where(forced > NOBODY, forced, owners)
    if config.max_positives_per_object:
        owners = _best_of_each(iou, owners, forced, config.max_positives_per_object)
    return Targets.of(owners, ignored, objects)


def near_objects(iou: Tensor, which: Tensor, threshold: float) -> Tensor:
    """
    Tell which priors overlap an object.

    Args:
        iou: (B, N, P), 0 for objects that do not count.
        which: (B, N) bool, objects that count.
        threshold: least IoU.

    Returns:
        (B, P) bool.
    """
    return (iou.amax(dim=1) >= threshold) & which.any(dim=1, keepdim=True)


def strongest_claims(claims: Tensor, wanting: Tensor) -> Tensor:
    """
    Let objects take one prior each, the one they claim most.

    Where several want the same one, the strongest claim has it and the others go empty; of
    equal claims the last one.

    Args:
        claims: (B, N, P), NO_CLAIM where there is none.
        wanting: (B, N) bool, objects that take part.

    Returns:
        (B, P) place of the object, or NOBODY.
    """
    batch, places, count = claims.shape
    claim, prior = claims.max(dim=2)  # (B, N)
    wanting = wanting & (claim > NO_CLAIM)
    order = torch.arange(places, device=claims.device)
    stronger = (claim[:, None] > claim[:, :, None]) | (
        (claim[:, None] == claim[:, :, None]) & (order > order[:, None]))  # (B, N, rival)
    rivals = (prior[:, None] == prior[:, :, None]) & wanting[:, None]
    winning = wanting & ~(rivals & stronger).any(dim=2)
    owners = claims.new_full((batch, count + 1), NOBODY, dtype=torch.int64)
    # those who get nothing write into a column that is cut off
    owners.scatter_(1, torch.where(winning, prior, count), order.expand(batch, -1))
    return owners[:, :count]


def settle(claims: Tensor, iou: Tensor, objects: PaddedObjects) -> tuple[Tensor, Tensor]:
    """
    Give each prior to its strongest claim, and a prior to objects that went empty.

    Such an object (too small to hold the centre of a cell) takes the free prior that overlaps it
    most, as in SSD.

    Args:
        claims: (B, N, P), NO_CLAIM where there is none; of objects that are learnt only.
        iou: (B, N, P) of priors and objects.
        objects: of the batch.

    Returns:
        (B, P) place of the object that owns each prior, or NOBODY; and (B, P) bool, the priors
        that were given to objects that went empty.
    """
    claim, claimant = claims.max(dim=1)
    owners = torch.where(claim > NO_CLAIM, claimant, NOBODY)
    empty = objects.learnt & (count_priors(owners, objects) == 0)
    free = iou.masked_fill((owners > NOBODY)[:, None], NO_CLAIM)
    rescued = strongest_claims(free, empty)
    return torch.where(rescued > NOBODY, rescued, owners), rescued > NOBODY


def count_priors(owners: Tensor, objects: PaddedObjects) -> Tensor:
    """
    Count the priors of each object.

    Args:
        owners: (B, P) place of an object, or NOBODY.
        objects: of the batch.

    Returns:
        (B, N) int64.
    """
    return torch.zeros_like(objects.labels).scatter_add(
        1, owners.clamp(min=0), (owners > NOBODY).long())


def _best_of_each(iou: Tensor, owners: Tensor, forced: Tensor, count: int) -> Tensor:
    """Leave each object the `count` priors that overlap it most; the one forced on it first."""
    places = torch.arange(iou.shape[1], device=iou.device)[:, None]
    own = owners[:, None] == places  # (B, N, P)
    rank = torch.where(forced[:, None] == places, 2.0, iou).masked_fill(~own, NO_CLAIM)
    best = rank.topk(min(count, rank.shape[2]), dim=2).indices
    kept = torch.zeros_like(own).scatter(2, best, True) & own
    return owners.where(kept.any(dim=1), NOBODY)
