"""Assignment by IoU as in SSD, and the parts that all methods share."""

from __future__ import annotations

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.targets import NO_OBJECT, PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.overlap import pairwise_iou

# Tensors are (B, N, P): images, places for objects, priors. No code reads a value back from the
# device, so that a GPU never waits.
UNASSIGNED = -1.0  # IoU of a prior that is not assigned to the object


def assign_by_iou(priors: PriorBoxes, objects: PaddedObjects, config: MatchConfig) -> Targets:
    """
    Assign objects to priors by overlap; SSD (arXiv:1512.02325), section 2.2.

    A prior takes the object it overlaps most if their IoU reaches match_iou, and every object gets
    the prior that overlaps it most. Between ignore_iou and match_iou, and on difficult objects, a
    prior learns nothing.
    """
    iou = pairwise_iou(objects.boxes_xyxy, priors.xyxy)  # (B, N, P)
    ignored = near_objects(iou, objects.real, config.ignore_iou)
    iou.mul_(objects.learnt[:, :, None])
    best_iou, best_object = iou.max(dim=1)
    owners = torch.where(best_iou >= config.match_iou, best_object, NO_OBJECT)
    if config.center_in_object:
        inside = priors.centres_inside(objects.boxes_xyxy)
        owners = owners.where(inside.gather(1, best_object[:, None])[:, 0], NO_OBJECT)
    forced = best_prior_per_object(iou, objects.learnt)
    owners = torch.where(forced > NO_OBJECT, forced, owners)
    if config.max_positives_per_object:
        owners = _best_of_each(iou, owners, forced, config.max_positives_per_object)
    return Targets.of(owners, ignored, objects)


def near_objects(iou: Tensor, which: Tensor, threshold: float) -> Tensor:
    """Return (B, P) bool, priors with IoU >= threshold; `iou` is 0 for objects not in `which`."""
    return (iou.amax(dim=1) >= threshold) & which.any(dim=1, keepdim=True)


def best_prior_per_object(iou: Tensor, which: Tensor) -> Tensor:
    """
    Assign to each object of `which` (B, N) the prior with the largest IoU (B, N, P).

    If objects share their best prior, the largest IoU wins, and the last of equal ones; the others
    get none. Returns (B, P) objects, or NO_OBJECT.
    """
    batch, places, count = iou.shape
    best, prior = iou.max(dim=2)  # (B, N)
    which = which & (best > UNASSIGNED)
    order = torch.arange(places, device=iou.device)
    larger = (best[:, None] > best[:, :, None]) | (
        (best[:, None] == best[:, :, None]) & (order > order[:, None]))  # (B, N, rival)
    rivals = (prior[:, None] == prior[:, :, None]) & which[:, None]
    winning = which & ~(rivals & larger).any(dim=2)
    owners = iou.new_full((batch, count + 1), NO_OBJECT, dtype=torch.int64)
    # objects without a prior write into an extra column, cut off below
    owners.scatter_(1, torch.where(winning, prior, count), order.expand(batch, -1))
    return owners[:, :count]


def resolve_conflicts(proposed_iou: Tensor, iou: Tensor, objects: PaddedObjects
                      ) -> tuple[Tensor, Tensor]:
    """
    Assign each prior to the object with the largest of its proposed IoUs.

    An object that gets none, often too small to contain the centre of a cell, takes the free prior
    that overlaps it most, as in SSD.

    Args:
        proposed_iou: (B, N, P), UNASSIGNED where the method does not propose the pair.
        iou: (B, N, P), of all pairs.
        objects: those that may be assigned.

    Returns:
        Owners (B, P), and (B, P) bool, free priors assigned to objects that had none.
    """
    best_iou, best_object = proposed_iou.max(dim=1)
    owners = torch.where(best_iou > UNASSIGNED, best_object, NO_OBJECT)
    empty = objects.learnt & (count_priors(owners, objects) == 0)
    free = iou.masked_fill((owners > NO_OBJECT)[:, None], UNASSIGNED)
    rescued = best_prior_per_object(free, empty)
    return torch.where(rescued > NO_OBJECT, rescued, owners), rescued > NO_OBJECT


def count_priors(owners: Tensor, objects: PaddedObjects) -> Tensor:
    """Count the priors of each object, (B, N) int64; owners is (B, P)."""
    return torch.zeros_like(objects.labels).scatter_add(
        1, owners.clamp(min=0), (owners > NO_OBJECT).long())


def _best_of_each(iou: Tensor, owners: Tensor, forced: Tensor, count: int) -> Tensor:
    """Keep the `count` priors of each object that overlap it most; the forced one first."""
    places = torch.arange(iou.shape[1], device=iou.device)[:, None]
    own = owners[:, None] == places  # (B, N, P)
    rank = torch.where(forced[:, None] == places, 2.0, iou).masked_fill(~own, UNASSIGNED)
    best = rank.topk(min(count, rank.shape[2]), dim=2).indices
    kept = torch.zeros_like(own).scatter(2, best, True) & own
    return owners.where(kept.any(dim=1), NO_OBJECT)
