"""Pictures on disk as a camera sees them: a folder, one image or a video, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError, UnsupportedImageError
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES, stored_size_wh
from mbv2ssd_ros.tools.cli.program import log

_KEEP_BYTES = 128 << 20  # decoded images of a folder that is played in a loop


@dataclass(frozen=True)
class CameraFrame:
    """One picture and where it comes from."""

    name: str  # file name; of a video with the number of the frame
    image_bgr: NDArray[np.uint8]  # (H, W, 3), contiguous


class ImageSource(Protocol):
    """A playable source of frames."""

    @property
    def rate_hz(self) -> float | None:
        """Frames per second as recorded; None for still images."""

    def __iter__(self) -> Iterator[CameraFrame]:
        """Play once from the beginning, skipping files that cannot be decoded."""

    @property
    def skipped(self) -> dict[str, str]:
        """The skipped files so far, each with the reason."""


def open_source(path: Path, size_wh: tuple[int, int] | None = None) -> ImageSource:
    """
    Open an image folder, an image or a video file; frames are decoded when they are played.

    Of a folder the images directly inside are played, in the order of their names. Every frame
    gets `size_wh`, unless None. Raises DataError when there is nothing to play.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(
                f'{path}: no images in this folder; expected files that end in '
                f'{", ".join(IMAGE_SUFFIXES)}')
        return ImageFiles(files, size_wh)
    if not path.is_file():
        raise DataError(
            f'{path}: no such file or folder; give an image, a folder of images or a video')
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFiles([path], size_wh)
    return VideoFile(path, size_wh)


def passes(source: ImageSource, repeat: bool) -> Iterator[CameraFrame]:
    """
    Play a source once or, with `repeat`, forever; log each skipped file once.

    Raises DataError after a whole pass without one frame.
    """
    logged: set[str] = set()
    while True:
        empty = True
        for frame in source:
            empty = False
            yield frame
        for file, reason in source.skipped.items():
            if file not in logged:
                log('play_images', f'skipped {file}: {reason}')
        logged.update(source.skipped)
        if empty:
            raise DataError(
                'nothing to play: not one of the files can be decoded; see the skipped files '
                'above')
        if not repeat:
            return


def fill_size(image_bgr: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """
    Scale an image (H, W, 3) until it fills a size, cropped equally on both sides.

    Objects keep their proportions; the result is contiguous.
    """
    height, width = image_bgr.shape[:2]
    scale = max(size_wh[0] / width, size_wh[1] / height)
    scaled_wh = (max(size_wh[0], round(width * scale)), max(size_wh[1], round(height * scale)))
    scaled = cv2.resize(
        image_bgr, scaled_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (scaled_wh[0] - size_wh[0]) // 2, (scaled_wh[1] - size_wh[1]) // 2
    cut = scaled[top:top + size_wh[1], left:left + size_wh[0]]
    return np.ascontiguousarray(cut, dtype=np.uint8)


def _frame(name: str, image: Any, size_wh: tuple[int, int] | None) -> CameraFrame:
    image_bgr = np.ascontiguousarray(image, dtype=np.uint8)
    return CameraFrame(name, image_bgr if size_wh is None else fill_size(image_bgr, size_wh))


class ImageFiles:
    """Still images, one after the other."""

    def __init__(self, files: list[Path], size_wh: tuple[int, int] | None) -> None:
        self._files = files
        self._size_wh = size_wh
        self.skipped: dict[str, str] = {}
        self._kept: dict[Path, CameraFrame] = {}
        self._kept_bytes = 0

    @property
    def rate_hz(self) -> float | None:
        """None: images of a folder have no rate."""
        return None

    def __iter__(self) -> Iterator[CameraFrame]:
        for file in self._files:
            frame = self._kept.get(file) or self._decode(file)
            if frame is not None:
                yield frame

    def _decode(self, file: Path) -> CameraFrame | None:
        try:
            data = file.read_bytes()
            stored_size_wh(data)  # rejects truncated files; cv2 would fill the rest with grey
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except (OSError, UnsupportedImageError, cv2.error) as err:
            self.skipped[str(file)] = str(err)
            return None
        if image is None:
            self.skipped[str(file)] = 'not an image that OpenCV can decode'
            return None
        frame = _frame(file.name, image, self._size_wh)
        if self._kept_bytes + frame.image_bgr.nbytes <= _KEEP_BYTES:
            self._kept[file] = frame
            self._kept_bytes += frame.image_bgr.nbytes
        return frame


class VideoFile:
    """The frames of a video."""

    def __init__(self, file: Path, size_wh: tuple[int, int] | None) -> None:
        """Open the file once; DataError if OpenCV cannot read it as a video."""
        self._file = file
        self._size_wh = size_wh
        self.skipped: dict[str, str] = {}
        capture = self._open()
        self._rate_hz = capture.get(cv2.CAP_PROP_FPS)
        capture.release()

    @property
    def rate_hz(self) -> float | None:
        """Frames per second as recorded; None where the file has no value."""
        return self._rate_hz if self._rate_hz > 0 else None

    def __iter__(self) -> Iterator[CameraFrame]:
        """Play once from the beginning, to the last frame that can be decoded."""
        capture, number = self._open(), 0
        try:
            while True:
                found, image = capture.read()
                if not found:
                    break
                number += 1
                yield _frame(f'{self._file.name}:{number}', image, self._size_wh)
        finally:
            capture.release()
        if not number:
            self.skipped[str(self._file)] = 'a video without a frame that can be decoded'

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._file))
        if not capture.isOpened():
            raise DataError(
                f'{self._file}: neither an image ({", ".join(IMAGE_SUFFIXES)}) nor a video that '
                'OpenCV can read')
        return capture
