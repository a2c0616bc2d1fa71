"""Training images and their objects, as the network and the loss take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbv2ssd_train.data.augment.geometry import Objects


@dataclass(frozen=True)
class Batch:
    """Images of one size; objects are padded to the largest number with label 0 and zero boxes."""

    images: Tensor  # (B, H, W, 3) uint8 RGB
    boxes_xyxy: Tensor  # (B, N, 4) float32, normalised
    labels: Tensor  # (B, N) int64, 1-based, 0 where there is no object
    difficult: Tensor  # (B, N) bool
    sources: tuple[str, ...]  # B image files, for messages

    def __len__(self) -> int:
        return len(self.sources)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        if self.images.device == device:
            return self
        return self._with([tensor.to(device, non_blocking=True) for tensor in self._tensors()],
                          self.sources)

    def parts(self, count: int) -> list[Batch]:
        """Return the batch as `count` batches, the first ones larger where it does not divide."""
        sizes = [len(part) for part in np.array_split(np.arange(len(self)), count)]
        ends = np.cumsum(sizes)
        return [self._with([tensor[end - size:end] for tensor in self._tensors()],
                           self.sources[end - size:end])
                for size, end in zip(sizes, ends, strict=True) if size]

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.images, self.boxes_xyxy, self.labels, self.difficult

    @staticmethod
    def _with(tensors: Sequence[Tensor], sources: tuple[str, ...]) -> Batch:
        images, boxes_xyxy, labels, difficult = tensors
        return Batch(images, boxes_xyxy, labels, difficult, sources)


def make_batch(images: Tensor, objects: Objects, sources: Sequence[str]) -> Batch:
    """Build a batch from (B, H, W, 3) uint8 RGB images and their normalised objects."""
    return Batch(images, torch.from_numpy(objects.boxes_xyxy), torch.from_numpy(objects.labels),
                 torch.from_numpy(objects.difficult), tuple(sources))
