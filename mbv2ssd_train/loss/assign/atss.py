"""Adaptive training sample selection: the threshold comes from the object (arXiv:1912.02424)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.iou import near_objects, resolve_conflicts, UNASSIGNED
from mbv2ssd_train.loss.assign.targets import PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.overlap import pairwise_iou


def assign_by_atss(priors: PriorBoxes, objects: PaddedObjects, config: MatchConfig) -> Targets:
    """
    Match priors by a threshold for each object: mean plus standard deviation of candidates' IoU.

    Candidates are the priors of the cells nearest to the object's centre, on each level. Those
    that reach the threshold and have their centre in the object are positive; of several objects
    the one with the largest IoU gets the prior. Not in the paper: an object without a prior takes
    the free one that overlaps it most. Near difficult objects a prior learns nothing.
    """
    iou = pairwise_iou(objects.boxes_xyxy, priors.xyxy)  # (B, N, P)
    ignored = near_objects(iou * objects.difficult[:, :, None], objects.difficult,
                           config.ignore_iou)
    candidates = nearest_priors(priors, objects.boxes_xyxy, config.atss_cells)  # (B, N, K)
    overlap = iou.gather(2, candidates)
    threshold = overlap.mean(dim=2, keepdim=True) + overlap.std(dim=2, keepdim=True)
    inside = priors.centres_inside(objects.boxes_xyxy).gather(2, candidates)
    chosen = (overlap >= threshold) & inside & objects.learnt[:, :, None]
    proposed_iou = torch.full_like(iou, UNASSIGNED).scatter(
        2, candidates, overlap.where(chosen, UNASSIGNED))
    owners, _ = resolve_conflicts(proposed_iou, iou, objects)
    return Targets.of(owners, ignored, objects)


def nearest_priors(priors: PriorBoxes, boxes_xyxy: Tensor, cells: int) -> Tensor:
    """Return (B, N, K) int64 priors of the `cells` nearest to each box (B, N, 4) on each level."""
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    return torch.cat(list(_nearest_of_levels(priors, centres, cells)), dim=-1)


def _nearest_of_levels(priors: PriorBoxes, centres: Tensor, cells: int) -> Iterator[Tensor]:
    first = 0
    for level in priors.levels:
        shapes = len(level.shapes_wh)
        cell_centres = priors.cxcywh[first:first + level.count:shapes, :2]
        # in pixels: in normalised units distances along the longer side count less
        away = (centres[..., None, :] - cell_centres) * priors.side_px[:2]  # (B, N, cells, 2)
        nearest = away.square().sum(dim=-1).topk(
            min(cells, len(cell_centres)), dim=-1, largest=False).indices
        each = torch.arange(shapes, device=centres.device)
        yield (first + nearest[..., None] * shapes + each).flatten(start_dim=-2)
        first += level.count
