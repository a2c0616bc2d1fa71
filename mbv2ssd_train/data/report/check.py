"""Find all errors of a data set before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbv2ssd_ros.core.annotations import Remark
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import Dataset, ImageRecord
from mbv2ssd_train.data.identity import group_copies, identify_image
from mbv2ssd_train.data.image_files import header_of, TURNS
from mbv2ssd_train.data.sources.annotations import UnknownClassError
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.data.sources.paths import Pictures


@dataclass(frozen=True)
class CheckReport:
    """The findings in a split."""

    split: str
    images: int
    objects: int
    images_without_objects: int
    objects_per_class: dict[str, int]  # every class, also those without objects
    faults: tuple[str, ...]  # errors
    remarks: tuple[str, ...]  # warnings
    unknown_classes: dict[str, int]  # name -> objects, among the faults


def check_dataset(root: str | Path, split: str, class_names: Sequence[str],
                  progress: Callable[[Iterable[ImageRecord], int], Iterable[ImageRecord]]
                  ) -> CheckReport:
    """
    Read all annotations and decode all images of a split; progress wraps the records.

    Raises DataError where there is no such split.
    """
    faults: list[str] = []
    unknown: Counter[str] = Counter()

    def note(fault: DataError) -> None:
        (remarks if isinstance(fault, Remark) else faults).append(str(fault))
        if isinstance(fault, UnknownClassError):
            unknown[fault.name] += 1

    pictures = Pictures(Path(root))
    remarks = [f'{path}: {path.suffix[1:].upper()} is not read; convert it to JPEG or PNG'
               for path in pictures.unread]
    try:
        dataset = open_dataset(root, split, class_names, on_fault=note)
    except DataError:
        if not faults:
            raise
        faults.append(f'{root}: no image of {split} can be used; the folder has '
                      f'{len(pictures.files)} pictures')
        return CheckReport(split, 0, 0, 0, dict.fromkeys(class_names, 0), tuple(faults),
                           tuple(remarks), dict(sorted(unknown.items())))
    read: list[tuple[str, tuple[int, int]]] = []  # source and identity
    for record in progress(dataset.records, len(dataset)):
        try:
            read.append((record.source, _check_image(dataset, record, remarks)))
        except DataError as err:
            faults.append(str(err))
    faults += dataset.images.damages()
    names = Counter(class_names[label - 1] for record in dataset.records
                    for label in record.labels)
    remarks += _copies(read)
    remarks += [f'class {name!r} has no object' for name in class_names if not names[name]]
    faults += [f'image id {name!r} occurs {count} times' for name, count in
               Counter(record.image_id for record in dataset.records).items() if count > 1]
    return CheckReport(
        split, len(dataset), sum(names.values()),
        sum(not len(record.labels) for record in dataset.records),
        {name: names[name] for name in class_names}, tuple(faults), tuple(remarks),
        dict(sorted(unknown.items())))


def _check_image(dataset: Dataset, record: ImageRecord, remarks: list[str]) -> tuple[int, int]:
    """Return the identity of an image that can be read."""
    pixels, encoded = dataset.decode(record), dataset.images.encoded(record)
    if not dataset.images.resident:
        turn = header_of(encoded, record.source)[1]
        if turn in TURNS:
            remarks.append(f'{record.source}: is {TURNS[turn]} by EXIF, and its boxes are taken '
                           'to be drawn on the picture as it is shown then; `data preview` draws '
                           'them')
    return identify_image(encoded, pixels)


def _copies(read: Sequence[tuple[str, tuple[int, int]]]) -> Iterator[str]:
    first_of = group_copies(np.array([identity for _, identity in read], np.uint64).reshape(-1, 2))
    for (source, identity), first in zip(read, first_of, strict=True):
        original, its_identity = read[first]
        if source != original:
            same = identity[0] == its_identity[0]
            yield f'{source}: {"the same picture as" if same else "looks like"} {original}'
