"""Write caches that cached.py reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
import hashlib
import os
from pathlib import Path
import shutil
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.durable import PARTIAL, sync
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import Dataset, ImageRecord
from mbv2ssd_train.data.image_files import reduce_image
from mbv2ssd_train.data.sources.cached import (
    cache_path,
    CacheEntry,
    CacheIndex,
    INDEX,
    refuse_rivals,
    Shard,
    shard_path,
)
from mbv2ssd_train.data.sources.packed import check_ids, check_set_name

_SHARD_BYTES = 256 * 2 ** 20
_DECODED_AHEAD = 32  # images in memory while a cache is written


def write_cache(dataset: Dataset, folder: Path, name: str, data: str, longest_px: int,
                shard_bytes: int = _SHARD_BYTES,
                progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> Path:
    """
    Write a data set as a cache and return its path; leftovers of an interrupted run are removed.

    Args:
        data: the folder that the set was read from; stored in the index.
        longest_px: larger images are reduced to this longest side.
        shard_bytes: largest shard; one image always fits.
        progress: wraps the indices, for a progress bar.

    Raises:
        ConfigError: no split could have that name.
        DataError: the set exists, an image cannot be read, an id is not unique, or the disk is
            too small.
    """
    check_set_name(name)
    path = cache_path(folder, name)
    if path.exists():
        raise DataError(f'{path}: exists; choose another name, or remove it')
    refuse_rivals(path)
    check_ids(dataset)
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _check_room(dataset, partial, longest_px)
    writer = _Writer(partial, shard_bytes)
    for index, pixels in zip(progress(range(len(dataset))), _reduced(dataset, longest_px)):
        writer.add(dataset.records[index], pixels)
    writer.end_shard()
    (partial / INDEX).write_text(CacheIndex(
        format=1, data=data, split=dataset.name, longest_side_px=longest_px,
        classes=dataset.class_names, shards=tuple(writer.shards),
        images=tuple(writer.images)).model_dump_json(), encoding='utf-8')
    sync(partial / INDEX)
    sync(partial)
    os.rename(partial, path)
    sync(folder)
    return path


def _reduced(dataset: Dataset, longest_px: int) -> Iterable[NDArray[np.uint8]]:
    """Decode and reduce on all cores, a few images ahead."""
    with ThreadPoolExecutor(os.cpu_count(), 'cache') as pool:
        for first in range(0, len(dataset), _DECODED_AHEAD):
            records = dataset.records[first:first + _DECODED_AHEAD]
            yield from pool.map(
                lambda record: reduce_image(dataset.decode(record), longest_px), records)


class _Writer:
    """Fill one shard after the other."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._limit = folder, shard_bytes
        self.shards: list[Shard] = []
        self.images: list[CacheEntry] = []
        self._file: BinaryIO | None = None
        self._digest, self._offset = hashlib.sha256(), 0

    def add(self, record: ImageRecord, pixels: NDArray[np.uint8]) -> None:
        """Append an image."""
        if self._offset and self._offset + pixels.nbytes > self._limit:
            self.end_shard()
        if self._file is None:
            self._file = shard_path(self._folder, len(self.shards)).open('wb')
        content = np.ascontiguousarray(pixels).tobytes()
        self._file.write(content)
        self._digest.update(content)
        self.images.append(CacheEntry(
            image_id=record.image_id, source=record.source, annotated_in=record.annotated_in,
            size_hw=record.size_hw, shape_hw=(pixels.shape[0], pixels.shape[1]),
            shard=len(self.shards), offset=self._offset,
            # float32 as the shortest decimals of float64, so that they come back bit for bit
            boxes_xyxy=tuple(tuple(box) for box in record.boxes_xyxy.tolist()),
            labels=tuple(record.labels.tolist()), difficult=tuple(record.difficult.tolist())))
        self._offset += len(content)

    def end_shard(self) -> None:
        """Close the current shard."""
        assert self._file is not None
        self._file.close()
        sync(shard_path(self._folder, len(self.shards)))
        self.shards.append(Shard(size_bytes=self._offset, sha256=self._digest.hexdigest()))
        self._file, self._digest, self._offset = None, hashlib.sha256(), 0


def _check_room(dataset: Dataset, folder: Path, longest_px: int) -> None:
    needed = 0
    for height, width in (record.size_hw for record in dataset.records):
        scale = min(1.0, longest_px / max(height, width))
        needed += int(3 * height * scale * width * scale)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(f'{folder}: the cache takes up to {needed / 1e9:.1f} GB, the disk has '
                        f'{free / 1e9:.1f} GB left; choose a smaller --longest-side')
