"""
Images are kept and augmented on the training device; fast cards would wait for the CPU.

All images have one size, a little more than the network input; boxes are normalised, so stretching
changes nothing else. Views are drawn as for other loaders (data/augment/geometry.py); one bilinear
sampling makes the pixels of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional as F

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image import LETTERBOX_GREY
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.augment.geometry import Views
from mbv2ssd_train.data.dataset import Dataset, ImageRecord, KEEP_BYTES
from mbv2ssd_train.data.loading.batch import Batch, make_batch
from mbv2ssd_train.data.loading.batches import made_ahead, views_of
from mbv2ssd_train.data.loading.order import BatchPlan, EpochOrder

_SPARE = 1.3  # image sides on the device, in sides of the network input: crops stay sharp
_LEVELS = 2  # of halving, for views of small scale; sides are multiples of 2 ** _LEVELS
_LOADED_AT_ONCE = 64
_GPU_SHARE = 0.8  # of what is free; the rest is for the network


@dataclass(frozen=True)
class Sampling:
    """Where views look, as tensors for the device."""

    columns: Tensor  # (B, w) float32, in units of the image's width
    rows: Tensor  # (B, h) float32, in units of its height
    colours: Tensor  # (B, 3, 4) float32, as in Views
    members: tuple[Tensor, ...]  # int64, images to halve 0, 1, 2, ... times before


@dataclass(frozen=True)
class _Prepared:
    """A batch without its pixels."""

    places: Tensor  # (B,) int64 of the images
    sampling: Sampling
    batch: Batch  # its images are missing


class DeviceLoader:
    """Make batches on the device, which holds all images; each process holds all of them."""

    def __init__(self, datasets: Sequence[Dataset], config: TrainConfig, device: torch.device,
                 rank: int = 0, world_size: int = 1) -> None:
        """
        Decode all images and copy them to the device.

        Raises ConfigError where processes cannot share a batch evenly, DataError where the images
        do not fit on the device or one cannot be read.
        """
        self._config, self._device = config, device
        places = [(dataset, record) for dataset in datasets for record in dataset.records]
        self._records = [record for _, record in places]
        self._order = EpochOrder(self._records, config, rank, world_size)
        size_hw = _kept_size(config)
        _check_memory(len(places), size_hw, device)
        # (I, 3, H, W) uint8 RGB
        self._images = _load(places, size_hw, device, config.data.workers)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, first_batch: int = 0) -> Generator[Batch, None, None]:
        """Yield batches on the device; see Loader."""
        # one thread is enough: the device makes the pixels
        for prepared in made_ahead(partial(self._prepare, epoch),
                                   self._order.plans(epoch, first_batch), 1):
            prepared = _apply(prepared, lambda part: part.to(self._device, non_blocking=True))
            images = sample(self._images[prepared.places], prepared.sampling)
            batch = prepared.batch
            yield Batch(images, batch.boxes_xyxy, batch.labels, batch.difficult, batch.sources)

    def _prepare(self, epoch: int, plan: BatchPlan) -> _Prepared:
        records = [self._records[place] for place in plan.places]
        views, objects = views_of(plan, epoch, records, [record.size_hw for record in records],
                                  self._config)
        kept_hw = (self._images.shape[2], self._images.shape[3])
        prepared = _Prepared(
            torch.from_numpy(plan.places), sampling_of(views, kept_hw, plan.input_size_hw),
            make_batch(torch.empty(0, dtype=torch.uint8), objects,
                       [record.source for record in records]))
        if self._device.type == 'cuda':  # pinned memory is copied while the card computes
            return _apply(prepared, Tensor.pin_memory)
        return prepared


def _apply(prepared: _Prepared, change: Callable[[Tensor], Tensor]) -> _Prepared:
    sampling, batch = prepared.sampling, prepared.batch
    return _Prepared(
        change(prepared.places),
        Sampling(change(sampling.columns), change(sampling.rows), change(sampling.colours),
                 tuple(map(change, sampling.members))),
        Batch(batch.images, change(batch.boxes_xyxy), change(batch.labels),
              change(batch.difficult), batch.sources))


def sampling_of(views: Views, kept_hw: tuple[int, int], input_size_hw: tuple[int, int]
                ) -> Sampling:
    """Compute, in main memory, where views look on images of the size kept on the device."""
    height, width = input_size_hw
    columns, rows = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    columns = np.where(views.mirrored[:, None], columns[::-1], columns)
    left, top, across, down = views.windows.T[..., None]
    levels = _levels(views, kept_hw, input_size_hw)
    return Sampling(
        torch.from_numpy((left + columns * across).astype(np.float32)),
        torch.from_numpy((top + rows * down).astype(np.float32)),
        torch.from_numpy(views.colours),
        tuple(torch.from_numpy(np.flatnonzero(levels == level)) for level in range(_LEVELS + 1)))


def sample(images: Tensor, sampling: Sampling) -> Tensor:
    """
    Sample views (B, h, w, 3) uint8 RGB of images (B, 3, H, W), grey outside; as render.py.

    H and W are multiples of 4, all tensors on one device. Where a pixel covers more than two of
    the image, the image is halved before, so that sampling skips no pixel.
    """
    grid = torch.stack(torch.broadcast_tensors(
        sampling.columns[:, None, :], sampling.rows[:, :, None]), dim=-1)  # (B, h, w, 2)
    sampled = torch.empty((len(images), 3, *grid.shape[1:3]), device=images.device)
    for level, members in enumerate(sampling.members):
        if not len(members):
            continue
        source = images[members].float()
        if level:
            source = F.avg_pool2d(source, 2 ** level)
        sampled[members] = F.grid_sample(
            source, grid[members] * 2 - 1, padding_mode='border', align_corners=False)
    outside = ((grid < 0) | (grid > 1)).any(dim=-1)  # (B, h, w)
    sampled = sampled.masked_fill(outside[:, None], LETTERBOX_GREY)
    colours = sampling.colours
    # a product and a sum, not einsum: some cards would multiply matrices in 10 bits
    changed = (colours[:, :, :3, None, None] * sampled[:, None]).sum(dim=2)
    changed += colours[:, :, 3, None, None]
    return changed.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _levels(views: Views, kept_hw: tuple[int, int], input_size_hw: tuple[int, int]
            ) -> NDArray[np.intp]:
    """Choose how often each image is halved before sampling."""
    shown = views.windows[:, [3, 2]] * kept_hw / input_size_hw  # its pixels in one of the view
    return np.clip(np.floor(np.log2(shown.max(axis=1))), 0, _LEVELS).astype(np.intp)


def _kept_size(config: TrainConfig) -> tuple[int, int]:
    sizes = config.augment.input_sizes_hw or (config.model.input_size_hw,)
    unit = 2 ** _LEVELS
    height, width = (unit * round(_SPARE * side / unit) for side in np.max(sizes, axis=0))
    return int(height), int(width)


def _check_memory(images: int, size_hw: tuple[int, int], device: torch.device) -> None:
    needed = images * 3 * size_hw[0] * size_hw[1]
    if device.type == 'cuda':
        available = int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
    else:
        available = KEEP_BYTES
    if needed > available:
        raise DataError(
            f'{images} images of {size_hw[1]} x {size_hw[0]} pixels take {needed / 1e9:.1f} GB on '
            f'{device}, {available / 1e9:.1f} GB may be used; choose data.keep: memory, or a '
            'smaller model.input_size_hw')


def _load(places: Sequence[tuple[Dataset, ImageRecord]], size_hw: tuple[int, int],
          device: torch.device, workers: int) -> Tensor:
    kept = torch.empty((len(places), 3, *size_hw), dtype=torch.uint8, device=device)
    with ThreadPoolExecutor(workers, 'load') as pool:
        for first in range(0, len(places), _LOADED_AT_ONCE):
            some = list(pool.map(lambda place: _stretched(place[0].decode(place[1]), size_hw),
                                 places[first:first + _LOADED_AT_ONCE]))
            kept[first:first + len(some)] = torch.from_numpy(np.stack(some)).to(device)
    return kept


def _stretched(pixels: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Convert (H, W, 3) BGR to (3, h, w) RGB."""
    larger = pixels.shape[0] > size_hw[0] or pixels.shape[1] > size_hw[1]
    stretched = cv2.resize(pixels, size_hw[::-1],
                           interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)
    return np.ascontiguousarray(stretched[..., ::-1].transpose(2, 0, 1), dtype=np.uint8)
