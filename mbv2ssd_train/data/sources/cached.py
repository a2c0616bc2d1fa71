"""
Caches: decoded images in a few large files, which are read faster than any picture format.

`NAME.cache/` holds `shard00000.bin`, ... with raw BGR pixels, reduced to the size that training
needs, and `index.json` with format version, origin, size and SHA-256 of every shard, and objects,
shape and place of every image. Shards are mapped into memory: processes share them and read
nothing twice. The folder is `NAME.cache.partial` until it is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mbv2ssd_ros.core.annotations import check_size, OnFault, read_each, refuse
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.sources.annotations import label_of

SUFFIX = '.cache'
INDEX = 'index.json'

_Whole = Annotated[int, Field(ge=0)]
_Side = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, strict=True, allow_inf_nan=False)


class Shard(_Strict):
    """A file of pixels."""

    size_bytes: _Whole
    sha256: str


class CacheEntry(_Strict):
    """An image and its objects."""

    image_id: str
    source: str
    annotated_in: str
    size_hw: tuple[_Side, _Side]  # of the original
    shape_hw: tuple[_Side, _Side]  # as stored in the shard
    shard: _Whole
    offset: _Whole
    boxes_xyxy: tuple[tuple[_Share, _Share, _Share, _Share], ...]  # normalised
    labels: tuple[_Side, ...]  # 1-based, of the index's classes
    difficult: tuple[bool, ...]

    @property
    def end(self) -> int:
        """Offset behind the image."""
        return self.offset + 3 * self.shape_hw[0] * self.shape_hw[1]


class CacheIndex(_Strict):
    """The content of index.json."""

    format: Literal[1]
    data: str
    split: str
    longest_side_px: _Side
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    images: tuple[CacheEntry, ...]


class CachedImages:
    """The images of a cache, mapped into memory."""

    resident = True

    def __init__(self, folder: Path, index: CacheIndex) -> None:
        self._folder, self._index = folder, index
        self._places = {image.image_id: image for image in index.images}
        self._shards = [np.memmap(shard_path(folder, number), np.uint8, 'r').view(np.ndarray)
                        for number in range(len(index.shards))]

    def pixels(self, record: ImageRecord) -> NDArray[np.uint8]:
        """Return a read-only view, (H, W, 3) uint8 BGR."""
        place = self._places[record.image_id]
        return self._shards[place.shard][place.offset:place.end].reshape(*place.shape_hw, 3)

    def encoded(self, record: ImageRecord) -> bytes:
        """Return the raw pixels as bytes."""
        return self.pixels(record).tobytes()

    def damages(self) -> list[str]:
        """Compare every shard with its checksum; one message for each difference."""
        found = []
        for number, shard in enumerate(self._index.shards):
            with shard_path(self._folder, number).open('rb') as file:
                digest = hashlib.sha256()
                while block := file.read(2 ** 22):
                    digest.update(block)
            if digest.hexdigest() != shard.sha256:
                found.append(f'{shard_path(self._folder, number)}: its SHA-256 is '
                             f'{digest.hexdigest()[:12]}..., the index has {shard.sha256[:12]}'
                             '...; write the cache again')
        return found


def cache_path(folder: Path, name: str) -> Path:
    """Return the path of a cache in a folder of data."""
    return folder / f'{name}{SUFFIX}'


def refuse_rivals(path: Path) -> None:
    """Raise DataError where the same split could also name data of another form."""
    folder, name = path.parent, path.stem
    for other in (folder / 'dataset.yaml', folder / f'{name}.json', folder / 'Annotations',
                  folder / 'annotations' / f'instances_{name}.json'):
        if other.exists():
            raise DataError(f'{path}: {other} exists too, so that {name!r} is ambiguous; '
                            'keep caches in a folder of their own')


def read_cache(path: Path, class_names: Sequence[str], on_fault: OnFault = refuse
               ) -> tuple[list[ImageRecord], CachedImages]:
    """
    Open a cache: records in the order of the index, and their images.

    Raises DataError where a file is missing, malformed or of another size; `data check` compares
    the checksums. on_fault gets wrong images.
    """
    index = _read_index(path / INDEX)
    for number, shard in enumerate(index.shards):
        _check_shard(shard_path(path, number), shard.size_bytes)
    labels = [0, *(label_of(name, class_names, str(path / INDEX)) for name in index.classes)]
    records = read_each(
        index.images,
        lambda image: _read_image(image, labels, index.shards, path / INDEX), on_fault)
    return records, CachedImages(path, index)


def _read_index(path: Path) -> CacheIndex:
    try:
        return CacheIndex.model_validate_json(path.read_bytes())
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err}') from err
    except ValidationError as err:
        fault = err.errors(include_input=False)[0]
        raise DataError(f'{path}: not the index of a cache of format 1: '
                        f'{".".join(map(str, fault["loc"])) or "file"}: {fault["msg"]}; write the '
                        'cache again') from err


def _check_shard(path: Path, size_bytes: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err}') from err
    if found != size_bytes or not size_bytes:
        raise DataError(f'{path}: has {found} bytes, the index has {size_bytes}; was it copied '
                        'in full? Copy it or write the cache again')


def _read_image(image: CacheEntry, labels: Sequence[int], shards: Sequence[Shard], path: Path
                ) -> ImageRecord:
    where = f'{path}: image {image.image_id}'
    check_size(image.size_hw, where)
    check_size(image.shape_hw, where)
    if image.shard >= len(shards) or image.end > shards[image.shard].size_bytes:
        raise DataError(f'{where}: bytes {image.offset} to {image.end} of shard {image.shard}, '
                        'which does not have them')
    boxes = np.array(image.boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    if not len(boxes) == len(image.labels) == len(image.difficult):
        raise DataError(f'{where}: {len(boxes)} boxes, {len(image.labels)} labels and '
                        f'{len(image.difficult)} flags')
    if (boxes[:, 2:] <= boxes[:, :2]).any() or max(image.labels, default=0) >= len(labels):
        raise DataError(f'{where}: a box has no area, or a label is not among '
                        f'{len(labels) - 1} classes')
    return ImageRecord(
        image.image_id, image.source, image.annotated_in, image.size_hw, boxes,
        np.array([labels[label] for label in image.labels], dtype=np.intp),
        np.array(image.difficult, dtype=bool))


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of a shard."""
    return folder / f'shard{number:05}.bin'
