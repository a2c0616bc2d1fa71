"""Inputs of matching, priors and objects, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbv2ssd_ros.core.priors import build_priors, PriorLevel
from mbv2ssd_train.box_coder import cxcywh_to_xyxy
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.loss.selection import on_host

BACKGROUND_LABEL = 0
IGNORED_LABEL = -1
NO_OBJECT = -1  # index of an owner


@dataclass(frozen=True)
class PriorBoxes:
    """The priors of one input size on one device."""

    levels: tuple[PriorLevel, ...]
    input_size_hw: tuple[int, int]  # pixels
    cxcywh: Tensor  # (P, 4) float32
    xyxy: Tensor  # (P, 4) float32
    side_px: Tensor  # (4,) scale of a normalised box to pixels of the network input

    @staticmethod
    def of(levels: tuple[PriorLevel, ...], input_size_hw: tuple[int, int],
           device: torch.device | str = 'cpu') -> PriorBoxes:
        """Build the priors of the levels of a model at this input size (pixels)."""
        cxcywh = torch.from_numpy(build_priors(levels)).to(device)
        height, width = input_size_hw
        side_px = torch.tensor([width, height, width, height], dtype=torch.float32, device=device)
        return PriorBoxes(levels, input_size_hw, cxcywh, cxcywh_to_xyxy(cxcywh), side_px)

    def centres_inside(self, boxes_xyxy: Tensor) -> Tensor:
        """Return (B, N, P) bool, centres strictly inside boxes (B, N, 4)."""
        left, top, right, bottom = (edge.unsqueeze(-1) for edge in boxes_xyxy.unbind(-1))
        x, y = (centre.contiguous() for centre in self.cxcywh[:, :2].unbind(-1))
        return (x > left) & (x < right) & (y > top) & (y < bottom)


@dataclass(frozen=True)
class PaddedObjects:
    """The objects of a batch; N is at least 1."""

    boxes_xyxy: Tensor  # (B, N, 4) float32, normalised
    labels: Tensor  # (B, N) int64, 1-based, 0 where there is no object
    difficult: Tensor  # (B, N) bool

    @staticmethod
    def of(batch: Batch) -> PaddedObjects:
        """Take the objects of a batch; on a CPU without places empty in all images."""
        places = batch.labels.shape[1]
        if on_host(batch.labels):
            used = (batch.labels > 0).any(dim=0).nonzero()
            places = int(used[-1]) + 1 if len(used) else 0
        if places:
            return PaddedObjects(batch.boxes_xyxy[:, :places], batch.labels[:, :places],
                                 batch.difficult[:, :places])
        one = len(batch), 1  # so that a maximum over objects exists
        return PaddedObjects(batch.boxes_xyxy.new_zeros((*one, 4)), batch.labels.new_zeros(one),
                             batch.difficult.new_zeros(one))

    @property
    def real(self) -> Tensor:
        """(B, N) bool, places with an object."""
        return self.labels > 0

    @property
    def learnt(self) -> Tensor:
        """(B, N) bool, places with an object that is not difficult."""
        return self.real & ~self.difficult


@dataclass(frozen=True)
class Targets:
    """What each prior of a batch should predict."""

    labels: Tensor  # (B, P) int64: 0 background, -1 ignored, otherwise the class
    objects: Tensor  # (B, P) int64 place of the object; meaningful where labels > 0
    alignment: Tensor | None = None  # (B, P) in [0, 1], target scores (TOOD)

    @staticmethod
    def join(parts: Sequence[Targets]) -> Targets:
        """Concatenate the targets of parts of a batch."""
        alignments = [part.alignment for part in parts if part.alignment is not None]
        return Targets(torch.cat([part.labels for part in parts]),
                       torch.cat([part.objects for part in parts]),
                       torch.cat(alignments) if alignments else None)

    @property
    def positive(self) -> Tensor:
        """(B, P) bool, priors that learn an object."""
        return self.labels > BACKGROUND_LABEL

    @staticmethod
    def of(owners: Tensor, ignored: Tensor, objects: PaddedObjects,
           alignment: Tensor | None = None) -> Targets:
        """Label priors as their owners (B, P), else -1 where `ignored`, else background."""
        places = owners.clamp(min=0)
        without = torch.where(ignored, IGNORED_LABEL, BACKGROUND_LABEL)
        labels = torch.where(owners > NO_OBJECT, objects.labels.gather(1, places), without)
        return Targets(labels, places, alignment)
