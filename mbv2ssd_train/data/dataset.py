"""The common interface of all sources of annotated images."""

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
    Return how many bytes decoded images may take: half of the memory, shared by processes.

    torchrun sets LOCAL_WORLD_SIZE to their number on this machine.
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
        """Return the objects in pixels of an image of that size, which may be reduced."""
        return GroundTruth(in_pixels(self.boxes_xyxy, size_hw), self.labels, self.difficult)


class Images(Protocol):
    """Where the images of records come from."""

    @property
    def resident(self) -> bool:
        """Whether decoded images are in memory already; keeping them gains nothing."""
        ...

    def pixels(self, record: ImageRecord) -> NDArray[np.uint8]:
        """Read (H, W, 3) uint8 BGR, not to be written to; a DataError names the image."""
        ...

    def encoded(self, record: ImageRecord) -> bytes:
        """Return the bytes as stored."""
        ...

    def damages(self) -> list[str]:
        """Verify checksums, where there are any; one message for each difference."""
        ...


class EncodedImages:
    """Image files or archive members, decoded on demand; read_bytes may raise DataError."""

    resident = False

    def __init__(self, read_bytes: Callable[[ImageRecord], bytes]) -> None:
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
        """Return nothing: the decoder reports damage."""
        return []


class Dataset:
    """
    At least one record, with images, in a fixed order; label k is class_names[k - 1].

    keep_decoded keeps images after the first read, up to KEEP_BYTES over all data sets.
    """

    def __init__(self, name: str, class_names: Sequence[str], records: Sequence[ImageRecord],
                 images: Images, keep_decoded: bool = False) -> None:
        if not records:
            raise DataError(f'{name}: the split has no image')
        self.name = name
        self.class_names = tuple(class_names)
        self.records = tuple(records)
        self.images = images
        self._decoded: dict[int, NDArray[np.uint8]] | None = (
            {} if keep_decoded and not images.resident else None)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def keeps_decoded(self) -> bool:
        """Whether images are kept after the first read."""
        return self._decoded is not None

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read (H, W, 3) uint8 BGR, not to be written to; see decode."""
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        pixels = self.decode(self.records[index])
        if self._decoded is not None:
            with _keeping:  # several threads count
                if (index not in self._decoded
                        and sum(_kept_bytes.values()) + pixels.nbytes <= KEEP_BYTES):
                    self._decoded[index] = pixels
                    _kept_bytes[self] = _kept_bytes.get(self, 0) + pixels.nbytes
        return pixels

    def decode(self, record: ImageRecord) -> NDArray[np.uint8]:
        """
        Read and decode one image, (H, W, 3) uint8 BGR, without using kept ones.

        A DataError names a file that is missing, broken or not of the annotated shape.
        """
        pixels = self.images.pixels(record)
        height, width = pixels.shape[:2]
        wanted_height, wanted_width = record.size_hw
        # the aspect ratio of a reduced copy is off by up to a rounded pixel on either side
        if abs(width * wanted_height - height * wanted_width) > wanted_height + wanted_width:
            raise DataError(
                f'{record.source}: is {width} x {height} pixels, but {record.annotated_in} has '
                f'{wanted_width} x {wanted_height}; its boxes would not match. Is it '
                'another image, or did the annotation tool ignore the EXIF orientation?')
        return pixels


_kept_bytes: WeakKeyDictionary[Dataset, int] = WeakKeyDictionary()
_keeping = threading.Lock()


def refuse_overlap(train: Sequence[Dataset], other: Dataset) -> None:
    """Raise DataError where an image of `other` is also in the training data."""
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
    """Test whether two images of one id are the same file, or have the same objects."""
    if one.source == other.source:
        return True
    # two cameras may both count from 000001, so an id alone proves nothing
    return (one.size_hw == other.size_hw and len(one.labels) > 0
            and one.labels.tolist() == other.labels.tolist()
            and np.allclose(one.boxes_xyxy, other.boxes_xyxy, rtol=0, atol=2 / min(one.size_hw)))
