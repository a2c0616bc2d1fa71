"""Adaptive training sample selection: the threshold comes from the object (arXiv:1912.02424)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.iou import near_objects, NO_CLAIM, settle
from mbv2ssd_train.loss.assign.targets import PaddedObjects, PriorBoxes, Targets
from mbv2ssd_train.loss.overlap import pairwise_iou


def assign_by_atss(priors: PriorBoxes, objects: PaddedObjects, config: MatchConfig) -> Targets:
    """
    Match priors by a threshold that is each object's own.

    From each level the priors of the cells nearest to the centre of an object are its candidates;
    the mean of their IoU with it, plus the standard deviation, is its threshold. Candidates that
    reach it and have their centre in the object are positive; of several objects the one with
    the largest IoU gets the prior. An object that goes empty takes the free prior that overlaps
    it most, which is not in the paper. Near difficult objects a prior learns nothing.

    Args:
        priors: P of them.
        objects: of the batch.
        config: atss_cells, ignore_iou.

    Returns:
        What each prior should predict.
    """
    iou = pairwise_iou(objects.boxes_xyxy, priors.xyxy)  # (B, N, P)
    ignored = near_objects(iou * objects.difficult[:, :, None], objects.difficult,
                           config.ignore_iou)
    candidates = nearest_priors(priors, objects.boxes_xyxy, config.atss_cells)  # (B, N, K)
    overlap = iou.gather(2, candidates)
    threshold = overlap.mean(dim=2, keepdim=True) + overlap.std(dim=2, keepdim=True)
    inside = priors.centres_inside(objects.boxes_xyxy).gather(2, candidates)
    chosen = (overlap >= threshold) & inside & objects.learnt[:, :, None]
    claims = torch.full_like(iou, NO_CLAIM).scatter(
        2, candidates, overlap.where(chosen, NO_CLAIM))
    owners, _ = settle(claims, iou, objects)
    return Targets.of(owners, ignored, objects)


def nearest_priors(priors: PriorBoxes, boxes_xyxy: Tensor, cells: int) -> Tensor:
    """
    Find the priors nearest to the centres of boxes, level by level.

    Args:
        priors: with their levels.
        boxes_xyxy: (B, N, 4).
        cells: to take from each level, with all their priors; all of a level that has fewer.

    Returns:
        (B, N, K) int64 indices of priors.
    """
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    return torch.cat(list(_nearest_of_levels(priors, centres, cells)), dim=-1)


def _nearest_of_levels(priors: PriorBoxes, centres: Tensor, cells: int) -> Iterator[Tensor]:
    first = 0
    for level in priors.levels:
        shapes = len(level.shapes_wh)
        cell_centres = priors.cxcywh[first:first + level.count:shapes, :2]
        # in pixels: what is near on a wide image is not what is near in units of its sides
        away = (centres[..., None, :] - cell_centres) * priors.side_px[:2]  # (B, N, cells, 2)
        nearest = away.square().sum(dim=-1).topk(
            min(cells, len(cell_centres)), dim=-1, largest=False).indices
        each = torch.arange(shapes, device=centres.device)
        yield (first + nearest[..., None] * shapes + each).flatten(start_dim=-2)
        first += level.count
