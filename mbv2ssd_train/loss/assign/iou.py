"""Which prior learns which object: the matching of SSD, and the parts that all methods share."""

from __future__ import annotations

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.targets import NOBODY, PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.overlap import pairwise_iou

# Tensors are (B, N, P): images, places for objects, priors. No code reads a value back from the
# device, so that a GPU never waits.
NO_CLAIM = -1.0  # instead of an IoU


def assign_by_iou(priors: PriorBoxes, objects: PaddedObjects, config: MatchConfig) -> Targets:
    """
    Match priors by their overlap with objects; SSD (arXiv:1512.02325), section 2.2.

    A prior takes the object it overlaps most if their IoU reaches match_iou, and every object gets
    the prior that overlaps it most. Between ignore_iou and match_iou, and on difficult objects, a
    prior learns nothing.
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
    """Return (B, P) bool, priors with IoU >= threshold; `iou` is 0 for objects not in `which`."""
    return (iou.amax(dim=1) >= threshold) & which.any(dim=1, keepdim=True)


def strongest_claims(claims: Tensor, wanting: Tensor) -> Tensor:
    """Assign one prior to each object of `wanting` (B, N); returns (B, P) objects, or NOBODY."""
    # Where objects want the same prior, the largest claim wins, of equal ones the last; the others
    # get none.
    batch, places, count = claims.shape
    claim, prior = claims.max(dim=2)  # (B, N)
    wanting = wanting & (claim > NO_CLAIM)
    order = torch.arange(places, device=claims.device)
    stronger = (claim[:, None] > claim[:, :, None]) | (
        (claim[:, None] == claim[:, :, None]) & (order > order[:, None]))  # (B, N, rival)
    rivals = (prior[:, None] == prior[:, :, None]) & wanting[:, None]
    winning = wanting & ~(rivals & stronger).any(dim=2)
    owners = claims.new_full((batch, count + 1), NOBODY, dtype=torch.int64)
    # objects without a prior write into an extra column, cut off below
    owners.scatter_(1, torch.where(winning, prior, count), order.expand(batch, -1))
    return owners[:, :count]


def settle(claims: Tensor, iou: Tensor, objects: PaddedObjects) -> tuple[Tensor, Tensor]:
    """Return owners (B, P), and (B, P) bool, free priors assigned to objects that won none."""
    # claims are NO_CLAIM where there is none, and for objects that are not learnt
    claim, claimant = claims.max(dim=1)
    owners = torch.where(claim > NO_CLAIM, claimant, NOBODY)
    # too small to contain the centre of a cell: the free prior that overlaps it most, as in SSD
    empty = objects.learnt & (count_priors(owners, objects) == 0)
    free = iou.masked_fill((owners > NOBODY)[:, None], NO_CLAIM)
    rescued = strongest_claims(free, empty)
    return torch.where(rescued > NOBODY, rescued, owners), rescued > NOBODY


def count_priors(owners: Tensor, objects: PaddedObjects) -> Tensor:
    """Count the priors of each object, (B, N) int64; owners is (B, P)."""
    return torch.zeros_like(objects.labels).scatter_add(
        1, owners.clamp(min=0), (owners > NOBODY).long())


def _best_of_each(iou: Tensor, owners: Tensor, forced: Tensor, count: int) -> Tensor:
    """Keep the `count` priors of each object that overlap it most; the forced one first."""
    places = torch.arange(iou.shape[1], device=iou.device)[:, None]
    own = owners[:, None] == places  # (B, N, P)
    rank = torch.where(forced[:, None] == places, 2.0, iou).masked_fill(~own, NO_CLAIM)
    best = rank.topk(min(count, rank.shape[2]), dim=2).indices
    kept = torch.zeros_like(own).scatter(2, best, True) & own
    return owners.where(kept.any(dim=1), NOBODY)
