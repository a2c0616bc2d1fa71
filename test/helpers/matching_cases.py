"""Priors and objects for tests of matching, and a matching that goes prior by prior."""

import torch

from mbv2ssd_ros.core.priors import PriorLevel
from mbv2ssd_train.box_coder import xyxy_to_cxcywh
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.loss.assign.targets import PaddedObjects, PriorBoxes

WIDE_HW = (64, 96)


def boxes_of(*xyxy):
    return torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4)


def priors_of(xyxy):
    """Put priors anywhere; for what does not ask for levels."""
    return PriorBoxes((), WIDE_HW, xyxy_to_cxcywh(xyxy), xyxy, torch.tensor([96., 64, 96, 64]))


def wide_priors():
    """Return 24 + 6 cells of two shapes each on an image of 64 x 96 pixels: 60 priors."""
    levels = (PriorLevel((4, 6), ((0.2, 0.3), (0.35, 0.2))),
              PriorLevel((2, 3), ((0.5, 0.5), (0.7, 0.4))))
    return PriorBoxes.of(levels, WIDE_HW)


def objects_of(*images):
    """Pad (boxes, labels, difficult or None) of each image to the largest number."""
    most = max(len(labels) for _, labels, _ in images)
    padded = PaddedObjects(torch.zeros(len(images), most, 4),
                           torch.zeros(len(images), most, dtype=torch.int64),
                           torch.zeros(len(images), most, dtype=torch.bool))
    for row, (boxes, labels, difficult) in enumerate(images):
        count = len(labels)
        padded.boxes_xyxy[row, :count] = boxes
        padded.labels[row, :count] = torch.as_tensor(labels)
        if difficult is not None:
            padded.difficult[row, :count] = torch.as_tensor(difficult)
    return padded


def random_boxes(generator, count, largest=0.5):
    corner = (1 - largest) * torch.rand((count, 2), generator=generator)
    size = 0.1 + (largest - 0.1) * torch.rand((count, 2), generator=generator)
    return torch.cat([corner, corner + size], dim=1)


def random_image(generator, count, classes=3, difficult_share=0.3):
    """Return boxes, labels and difficult flags of one image."""
    return (random_boxes(generator, count),
            torch.randint(1, classes + 1, (count,), generator=generator),
            torch.rand(count, generator=generator) < difficult_share)


def batch_of(*images, size_hw=WIDE_HW):
    """Return a Batch of black images with (boxes, labels, difficult or None) each."""
    objects = objects_of(*images)
    pixels = torch.zeros(len(images), *size_hw, 3, dtype=torch.uint8)
    return Batch(pixels, objects.boxes_xyxy, objects.labels, objects.difficult,
                 tuple(f'{k}.jpg' for k in range(len(images))))


def rearranged(objects, generator):
    """Return the same objects in other places, with two empty places more."""
    batch, places = objects.labels.shape
    order = torch.randperm(places + 2, generator=generator)
    boxes, labels, difficult = (
        torch.cat([field, torch.zeros(batch, 2, *field.shape[2:], dtype=field.dtype)], 1)[:, order]
        for field in (objects.boxes_xyxy, objects.labels, objects.difficult))
    return PaddedObjects(boxes, labels, difficult)


def learnt_boxes(targets, objects):
    """Return (B, P, 4), the box that each prior learns, zeros where it learns none."""
    index = targets.objects[..., None].expand(-1, -1, 4)
    return objects.boxes_xyxy.gather(1, index) * targets.positive[..., None]


def iou(a, b):
    """IoU of two boxes, a number at a time."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


def holds(box, x, y):
    return box[0] < x < box[2] and box[1] < y < box[3]


def rescue(owners, overlap, wanting):
    """
    Give objects without a prior the free one that overlaps them most, the best match first.

    Args:
        owners: object or None of each prior; changed.
        overlap: overlap[n][p] of object n and prior p.
        wanting: objects that should have one.

    Returns:
        The priors given away.
    """
    free = [p for p, owner in enumerate(owners) if owner is None]
    wishes = []
    for n in wanting:
        if n not in owners:
            best = max(free, key=lambda p: overlap[n][p])
            wishes.append((overlap[n][best], best, n))
    given = []
    for _, prior, n in sorted(wishes, reverse=True):
        if owners[prior] is None:
            owners[prior] = n
            given.append(prior)
    return given
