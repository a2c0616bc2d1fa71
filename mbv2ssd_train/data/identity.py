"""
Which picture is which, whatever its file is called: what a model learnt, and copies.

Two hashes of 64 bits stand for a picture. One is of its bytes: equal means the same file. The
other, perceptual, is of its coarse shapes: it survives another size or compression.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import hashlib
import json
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import Dataset

LEARNT_KEY = 'mbv2ssd.learnt'  # of the metadata of an ONNX file
Identities = NDArray[np.uint64]  # (N, 2): of the bytes, of the shapes
# Of 64 bits. 496 pictures of VOC2007 differ from copies of a quarter of their area, in JPEG of
# quality 50, by 0.5 bits on average and 6 at most; of 12 million pairs of others by more.
_NEAR_BITS = 6
_ROWS = 4096  # pictures that are compared at a time: a matrix of their number and all others
_PLAIN = 4.0  # standard deviation of grey below which a picture has no shapes to compare


def identify(dataset: Dataset, progress: Callable[[Iterable[Any], int], Iterable[Any]] =
             lambda items, total: items) -> Identities:
    """Read and hash all pictures of a data set, in its order; DataError as Dataset.decode."""
    with ThreadPoolExecutor(os.cpu_count(), 'identify') as pool:
        found = pool.map(lambda index: identify_image(dataset.images.encoded(
            dataset.records[index]), dataset.image(index)), range(len(dataset)))
        try:
            return np.array(list(progress(found, len(dataset))), np.uint64).reshape(-1, 2)
        finally:  # an error, or Ctrl-C, does not wait for all images
            pool.shutdown(wait=False, cancel_futures=True)


def identify_image(encoded: bytes, pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """Hash the bytes of a file, and its (H, W, 3) uint8 BGR pixels."""
    return int.from_bytes(hashlib.sha256(encoded).digest()[:8], 'big'), perceptual_hash(pixels)


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """
    Hash the coarse shapes of (H, W, 3) uint8 BGR to 64 bits; 0 for a picture of one colour.

    Signs of the 8 x 8 lowest frequencies against their median (Zauner, Implementation and
    Benchmarking of Perceptual Image Hash Functions, 2010).
    """
    small: Any = cv2.cvtColor(cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA),
                              cv2.COLOR_BGR2GRAY)
    if small.std() < _PLAIN:
        return 0
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), 'big')


def near(one: Identities, other: Identities) -> NDArray[np.bool_]:
    """Compare the shapes of (N, 2) with (M, 2) pictures; (N, M) True: copies of one another."""
    signs, others = (_signs(found[:, 1]) for found in (one, other))
    return np.asarray(signs @ others.T >= 64 - 2 * _NEAR_BITS)


def _signs(hashes: NDArray[np.uint64]) -> NDArray[np.float32]:
    bits = np.unpackbits(hashes.astype('>u8').view(np.uint8).reshape(-1, 8), axis=1)
    signs = 2 * bits.astype(np.float32) - 1
    signs[hashes == 0] = 0  # no shapes: near to nothing
    return signs


def group_copies(images: Identities) -> list[int]:
    """Return for each picture the index of the first that it is a copy of, else its own."""
    first = np.arange(len(images))
    for start in range(0, len(images), _ROWS):
        rows = images[start:start + _ROWS]
        alike = near(rows, images) | (rows[:, :1] == images[None, :, 0])
        for row, column in np.argwhere(alike):
            one, other = first[start + row], first[column]
            if one != other:
                first[first == max(one, other)] = min(one, other)
    return [int(index) for index in first]


@dataclass(frozen=True)
class Learnt:
    """The pictures that a model learnt from, also those of the model that it began with."""

    images: Identities
    unknown: tuple[str, ...] = ()  # files it began with that do not say what they learnt

    def __or__(self, other: Learnt) -> Learnt:
        return Learnt(np.unique(np.concatenate([self.images, other.images]), axis=0),
                      tuple(sorted({*self.unknown, *other.unknown})))

    def same(self, images: Identities) -> NDArray[np.bool_]:
        """Tell for each of (N, 2) pictures whether the file was learnt; (N,)."""
        return np.isin(images[:, 0], self.images[:, 0])

    def alike(self, images: Identities) -> NDArray[np.bool_]:
        """Tell for each of (N, 2) whether not itself but a near copy was learnt; (N,)."""
        found = np.zeros(len(images), bool)
        for start in range(0, len(self.images), _ROWS):
            found |= near(images, self.images[start:start + _ROWS]).any(axis=1)
        return found & ~self.same(images)

    def without(self, other: Learnt) -> Identities:
        """Return the pictures that are not in the other, nor near copies of them."""
        return self.images[~(other.same(self.images) | other.alike(self.images))]

    def to_text(self) -> str:
        """Return 16 bytes a picture, in base64, as checkpoints and model files store them."""
        packed = np.unique(self.images, axis=0).astype('>u8').tobytes()
        return json.dumps({'images': base64.b64encode(packed).decode(), 'unknown': self.unknown})

    @classmethod
    def from_text(cls, text: str, source: str) -> Learnt:
        """Read to_text; DataError for anything else."""
        try:
            found = json.loads(text)
            packed = base64.b64decode(found['images'], validate=True)
            images = np.frombuffer(packed, '>u8').astype(np.uint64).reshape(-1, 2)
            return cls(images, tuple(map(str, found['unknown'])))
        except (ValueError, KeyError, TypeError) as err:
            raise DataError(f'{source}: its record of learnt images is damaged ({err!r}); export '
                            'it again') from err


def no_images() -> Identities:
    """Return the identities of no picture."""
    return np.zeros((0, 2), np.uint64)


def keep(dataset: Dataset, chosen: NDArray[np.bool_]) -> Dataset:
    """Return the chosen images of a data set; DataError where there are none."""
    if chosen.all():
        return dataset
    records = [record for record, kept in zip(dataset.records, chosen, strict=True) if kept]
    return Dataset(dataset.name, dataset.class_names, records, dataset.images,
                   dataset.keeps_decoded)


def names_of(dataset: Dataset, chosen: NDArray[np.bool_], most: int = 5) -> str:
    """Name the first of the chosen images."""
    names = [record.image_id for record, found in zip(dataset.records, chosen, strict=True)
             if found]
    return ', '.join([*names[:most], *(['...'] if len(names) > most else [])])


def hash_annotations(datasets: Iterable[Dataset]) -> str:
    """Hash all boxes, labels and flags of data sets, in their order."""
    digest = hashlib.sha256()
    for record in (record for dataset in datasets for record in dataset.records):
        for part in (record.boxes_xyxy, record.labels.astype('<i8'), record.difficult):
            digest.update(part.tobytes())
    return digest.hexdigest()
