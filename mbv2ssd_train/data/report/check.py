"""Find all errors of a data set before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
import hashlib
from pathlib import Path

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import Dataset, ImageRecord
from mbv2ssd_train.data.sources.annotations import UnknownClassError
from mbv2ssd_train.data.sources.open import open_dataset


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

    Raises DataError where there is no such split or nothing in it can be read.
    """
    faults: list[str] = []
    unknown: Counter[str] = Counter()

    def note(fault: DataError) -> None:
        faults.append(str(fault))
        if isinstance(fault, UnknownClassError):
            unknown[fault.name] += 1

    dataset = open_dataset(root, split, class_names, on_fault=note)
    seen: dict[str, str] = {}
    remarks: list[str] = []
    for record in progress(dataset.records, len(dataset)):
        try:
            _check_image(dataset, record, seen, remarks)
        except DataError as err:
            faults.append(str(err))
    faults += dataset.images.damages()
    names = Counter(class_names[label - 1] for record in dataset.records
                    for label in record.labels)
    remarks += [f'class {name!r} has no object' for name in class_names if not names[name]]
    faults += [f'image id {name!r} occurs {count} times' for name, count in
               Counter(record.image_id for record in dataset.records).items() if count > 1]
    return CheckReport(
        split, len(dataset), sum(names.values()),
        sum(not len(record.labels) for record in dataset.records),
        {name: names[name] for name in class_names}, tuple(faults), tuple(remarks),
        dict(sorted(unknown.items())))


def _check_image(dataset: Dataset, record: ImageRecord, seen: dict[str, str],
                 remarks: list[str]) -> None:
    dataset.decode(record)
    digest = hashlib.sha256(dataset.images.encoded(record)).hexdigest()
    if digest in seen:
        remarks.append(f'{record.source}: the same picture as {seen[digest]}')
    seen[digest] = record.source
