"""Which prior learns which object: SSD's matching and hard negative mining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbv2ssd_train.config import MatchConfig

BACKGROUND_LABEL = 0
IGNORED_LABEL = -1


@dataclass(frozen=True)
class Targets:
    """What each prior of a batch should predict."""

    labels: Tensor  # (B, P) int64: 0 background, -1 ignored, otherwise the class
    boxes_xyxy: Tensor  # (B, P, 4) float32; meaningful where labels > 0


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """
    IoU of each box of one set with each box of another.

    Args:
        boxes_a: (A, 4) xyxy with positive areas.
        boxes_b: (B, 4) xyxy with positive areas.

    Returns:
        (A, B) in [0, 1].
    """
    top_left = torch.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = torch.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    area_a = (boxes_a[:, 2:] - boxes_a[:, :2]).prod(dim=-1)
    area_b = (boxes_b[:, 2:] - boxes_b[:, :2]).prod(dim=-1)
    return shared / (area_a[:, None] + area_b[None, :] - shared)


def assign(priors_xyxy: Tensor, boxes_xyxy: Sequence[Tensor], labels: Sequence[Tensor],
           difficult: Sequence[Tensor], config: MatchConfig) -> Targets:
    """
    Match the priors of a batch; see match_image.

    Args:
        priors_xyxy: (P, 4).
        boxes_xyxy: for each image (N, 4).
        labels: for each image (N,), 1-based.
        difficult: for each image (N,) bool.
        config: thresholds.

    Returns:
        Targets of all images.
    """
    matched = [match_image(priors_xyxy, *image, config)
               for image in zip(boxes_xyxy, labels, difficult, strict=True)]
    return Targets(torch.stack([labels for labels, _ in matched]),
                   torch.stack([boxes for _, boxes in matched]))


def match_image(priors_xyxy: Tensor, boxes_xyxy: Tensor, labels: Tensor, difficult: Tensor,
                config: MatchConfig) -> tuple[Tensor, Tensor]:
    """
    Match the priors of one image.

    SSD (arXiv:1512.02325), section 2.2: a prior takes the object it overlaps most if their IoU
    reaches match_iou, and every object gets the prior that overlaps it most. Between ignore_iou
    and match_iou, and on difficult objects, a prior learns nothing.

    Args:
        priors_xyxy: (P, 4).
        boxes_xyxy: (N, 4), N may be 0.
        labels: (N,) 1-based.
        difficult: (N,) bool.
        config: thresholds.

    Returns:
        Labels (P,) as in Targets and boxes (P, 4) xyxy.
    """
    count = len(priors_xyxy)
    target_labels = torch.full((count,), BACKGROUND_LABEL, dtype=torch.int64,
                               device=priors_xyxy.device)
    target_boxes = torch.zeros_like(priors_xyxy)
    if len(boxes_xyxy) == 0:
        return target_labels, target_boxes
    iou = pairwise_iou(boxes_xyxy, priors_xyxy)  # (N, P)
    target_labels[(iou >= config.ignore_iou).any(dim=0)] = IGNORED_LABEL
    easy = ~difficult
    if not easy.any():
        return target_labels, target_boxes
    iou, boxes_xyxy, labels = iou[easy], boxes_xyxy[easy], labels[easy]
    best_iou, best_object = iou.max(dim=0)  # (P,)
    own_iou, own_prior = iou.max(dim=1)  # (N,)
    # In ascending order of overlap: where two objects want one prior, the better match has it.
    for index in own_iou.argsort().tolist():
        best_object[own_prior[index]] = index
        best_iou[own_prior[index]] = 1.0
    positive = best_iou >= config.match_iou
    target_labels[positive] = labels[best_object[positive]]
    target_boxes[positive] = boxes_xyxy[best_object[positive]]
    return target_labels, target_boxes


def mine_hard_negatives(background_loss: Tensor, labels: Tensor, neg_pos_ratio: float) -> Tensor:
    """
    Choose the negatives that are most wrong, a fixed number for each positive.

    An image without positives takes part with as many negatives as one with a single positive,
    so that images without objects teach what is not an object.

    Args:
        background_loss: (B, P) loss of calling each prior background.
        labels: (B, P) as in Targets.
        neg_pos_ratio: negatives for each positive of the same image.

    Returns:
        (B, P) bool, the chosen negatives.
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    negative = labels == BACKGROUND_LABEL
    candidates = background_loss.detach().masked_fill(~negative, -torch.inf)
    wanted = ((labels > 0).sum(dim=1).clamp(min=1) * neg_pos_ratio).long()
    available = negative.sum(dim=1)
    for image, count in enumerate(torch.minimum(wanted, available).tolist()):
        chosen[image, candidates[image].topk(count).indices] = True
    return chosen
