"""Mend faults of a data set where that is safe: the copy has what is listed changed, no more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    BoxError,
    check_object,
    read_each,
    Remark,
    Size,
)
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.image_files import decode_image, read_file
from mbv2ssd_train.data.sources.annotations import Reader, SourceImage


@dataclass
class Mender:
    """
    The changes that are allowed, those that were made, and the faults that are left.

    clip cuts boxes at the border, drop leaves out what cannot be used, size takes the size of the
    picture where the annotation has another shape.
    """

    fixes: Collection[str]
    done: dict[str, None] = field(default_factory=dict)
    left: dict[str, None] = field(default_factory=dict)

    def read(self, reader: Reader) -> list[SourceImage]:
        """Read the images of a split, mended."""
        return read_each(reader(self._defer), self._mended, self._drop)

    def _defer(self, fault: DataError) -> Annotation | None:
        """Keep a wrong box until the size of its picture is known."""
        if isinstance(fault, BoxError):
            return fault.item
        if not isinstance(fault, Remark):
            self._drop(fault)
        return None

    def _drop(self, fault: DataError) -> None:
        if 'drop' in self.fixes:
            self.done[f'dropped: {fault}'] = None
        else:
            self.left[str(fault)] = None

    def _mended(self, image: SourceImage) -> SourceImage:
        height, width = decode_image(read_file(image.path), str(image.path)).shape[:2]
        size_hw = image.image.size_hw
        if abs(width * size_hw[0] - height * size_hw[1]) > sum(size_hw):  # not a reduced copy
            told = (f'{image.path}: is {width} x {height} pixels, but {image.annotated_in} has '
                    f'{size_hw[1]} x {size_hw[0]}')
            if 'size' not in self.fixes:
                raise DataError(told)
            self.done[f'size: {told}'] = None
            size_hw = (height, width)

        def clip(fault: DataError) -> Annotation | None:
            assert isinstance(fault, BoxError)
            clipped = _clipped(fault.item, size_hw)
            if 'clip' not in self.fixes or clipped is None:
                self._drop(fault)
                return None
            self.done[f'clipped: {fault}'] = None
            return clipped
        return replace(image, image=AnnotatedImage(size_hw, read_each(
            image.image.objects, lambda item: check_object(item, size_hw), clip)))


def _clipped(item: Annotation, size_hw: Size) -> Annotation | None:
    """Cut a box at the border; None where nothing is left, or it is not finite."""
    height, width = size_hw
    x1, y1, x2, y2 = item.xyxy
    cut = replace(item, xyxy=(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)))
    try:
        return check_object(cut, size_hw)
    except BoxError:
        return None
