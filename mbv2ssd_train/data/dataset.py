"""What every source of annotated images looks like to the rest of the package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import threading
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.annotations import in_pixels
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.metrics import GroundTruth
from mbv2ssd_train.data.image_files import decode_image


def memory_to_keep(environment: Mapping[str, str]) -> int:
    """
    Say how much memory decoded images may take: half of it, shared by the processes that train.

    Args:
        environment: of the process; torchrun tells in it how many run on this machine.

    Returns:
        Bytes.
    """
    machine = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    try:  # of a container
        limit = int(Path('/sys/fs/cgroup/memory.max').read_text())
    except (OSError, ValueError):
        limit = machine
    return min(machine, limit) // 2 // int(environment.get('LOCAL_WORLD_SIZE', '1'))


KEEP_BYTES = memory_to_keep(os.environ)  # of decoded images, all data sets together


@dataclass(frozen=True)
class ImageRecord:
    """One annotated image; labels are 1-based, 0 being the background."""

    image_id: str
    source: str  # image file or archive member, for messages
    annotated_in: str  # annotation file, for messages
    size_hw: tuple[int, int]  # of the original image, pixels
    boxes_xyxy: NDArray[np.float32] = field(repr=False)  # (N, 4) normalised
    labels: NDArray[np.intp] = field(repr=False)  # (N,)
    difficult: NDArray[np.bool_] = field(repr=False)  # (N,)

    def ground_truth(self, size_hw: tuple[int, int]) -> GroundTruth:
        """Return the objects in pixels of an image of that size, which may be a reduced copy."""
        return GroundTruth(in_pixels(self.boxes_xyxy, size_hw), self.labels, self.difficult)


class Images(Protocol):
    """Where the images of records come from."""

    @property
    def resident(self) -> bool:
        """Whether decoded images lie in memory, so that keeping them gains nothing."""
        ...

    def pixels(self, record: ImageRecord) -> NDArray[np.uint8]:
        """
        Read one image.

        Args:
            record: one of those that came with the images.

        Returns:
            (H, W, 3) uint8 BGR; not to be written to.

        Raises:
            DataError: it cannot be read; names it.
        """
        ...

    def encoded(self, record: ImageRecord) -> bytes:
        """Return the bytes as stored."""
        ...

    def damages(self) -> list[str]:
        """Compare what has a checksum with it; one message for each difference."""
        ...


class EncodedImages:
    """Image files, or members of archives, decoded when they are asked for."""

    resident = False

    def __init__(self, read_bytes: Callable[[ImageRecord], bytes]) -> None:
        """
        Say how files are read.

        Args:
            read_bytes: gives the encoded image of a record, or raises DataError.
        """
        self._read_bytes = read_bytes
        self._lock = threading.Lock()  # archives are not safe to read from two threads

    def pixels(self, record: ImageRecord) -> NDArray[np.uint8]:
        """Read and decode one image; see Images."""
        return decode_image(self.encoded(record), record.source)

    def encoded(self, record: ImageRecord) -> bytes:
        """Read the file of an image."""
        with self._lock:
            return self._read_bytes(record)

    def damages(self) -> list[str]:
        """Return nothing: the decoder tells of what is damaged."""
        return []


class Dataset:
    """Records and their images, in a fixed order."""

    def __init__(self, name: str, class_names: Sequence[str], records: Sequence[ImageRecord],
                 images: Images, keep_decoded: bool = False) -> None:
        """
        Put together records and their images.

        Args:
            name: of the split, as the user wrote it.
            class_names: object classes; label k is class_names[k - 1].
            records: at least one.
            images: of the records.
            keep_decoded: keep decoded images after the first read, as long as all data sets
                together take no more than half of the memory.

        Raises:
            DataError: there is no record.
        """
        if not records:
            raise DataError(f'{name}: the split holds no image')
        self.name = name
        self.class_names = tuple(class_names)
        self.records = tuple(records)
        self.images = images
        self._decoded: dict[int, NDArray[np.uint8]] | None = (
            {} if keep_decoded and not images.resident else None)

    def __len__(self) -> int:
        return len(self.records)

    def image(self, index: int) -> NDArray[np.uint8]:
        """
        Read and decode one image.

        Args:
            index: of the record.

        Returns:
            (H, W, 3) uint8 BGR; not to be written to.

        Raises:
            DataError: the file is missing or does not decode; names it.
        """
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        pixels = self.decode(self.records[index])
        if self._decoded is not None:
            self._keep(self._decoded, index, pixels)
        return pixels

    def _keep(self, decoded: dict[int, NDArray[np.uint8]], index: int,
              pixels: NDArray[np.uint8]) -> None:
        with _keeping:  # several threads count
            if index not in decoded and sum(_kept_bytes.values()) + pixels.nbytes <= KEEP_BYTES:
                decoded[index] = pixels
                _kept_bytes[self] = _kept_bytes.get(self, 0) + pixels.nbytes

    def decode(self, record: ImageRecord) -> NDArray[np.uint8]:
        """
        Read and decode one image, whatever is kept.

        Args:
            record: of this data set.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            DataError: the file is missing, does not decode, or has another shape than its
                annotation says; names it.
        """
        pixels = self.images.pixels(record)
        height, width = pixels.shape[:2]
        wanted_height, wanted_width = record.size_hw
        # a reduced copy keeps the aspect ratio up to a pixel of rounding on either side
        if abs(width * wanted_height - height * wanted_width) > wanted_height + wanted_width:
            raise DataError(
                f'{record.source}: is {width} x {height} pixels, but {record.annotated_in} says '
                f'{wanted_width} x {wanted_height}; its boxes would be in the wrong places. Is '
                'it another picture, or did the tool leave out an orientation in EXIF?')
        return pixels


_kept_bytes: WeakKeyDictionary[Dataset, int] = WeakKeyDictionary()
_keeping = threading.Lock()


def refuse_overlap(train: Sequence[Dataset], other: Dataset) -> None:
    """
    Make sure that nothing is measured on an image that was learnt from.

    Args:
        train: sets to learn from.
        other: the set to measure on.

    Raises:
        DataError: an image is in both; names some of them.
    """
    learnt: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for dataset in train:
        for record in dataset.records:
            learnt[record.image_id].append(record)
    shared = [record.image_id for record in other.records
              if any(_same_image(record, known) for known in learnt.get(record.image_id, ()))]
    if shared:
        names = ', '.join(dataset.name for dataset in train)
        raise DataError(
            f'{len(shared)} images are both in the training data ({names}) and in {other.name}: '
            f'{", ".join(shared[:5])}{", ..." if len(shared) > 5 else ""}; mAP measured there '
            'would be worthless. Choose splits without common images')


def _same_image(one: ImageRecord, other: ImageRecord) -> bool:
    """Tell whether two images of one id are the same file, or have the same objects."""
    if one.source == other.source:
        return True
    # two cameras may both count from 000001, so an id alone proves nothing
    return (one.size_hw == other.size_hw and len(one.labels) > 0
            and one.labels.tolist() == other.labels.tolist()
            and np.allclose(one.boxes_xyxy, other.boxes_xyxy, rtol=0, atol=2 / min(one.size_hw)))
