"""Where pictures come from: a folder, an image, a video, a webcam or a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError, UnsupportedImageError
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES, stored_size_wh
from mbv2ssd_ros.core.url import is_url
from mbv2ssd_ros.core.video import Capture, VideoSource
from mbv2ssd_ros.tools.cli.program import log

_KEEP_BYTES = 128 << 20  # decoded images of a folder that is played in a loop


@dataclass(frozen=True)
class CameraFrame:
    """One picture and where it comes from."""

    name: str  # file name; of a video with the number of the frame
    image_bgr: NDArray[np.uint8]  # (H, W, 3), contiguous


class ImageSource:
    """
    A source of frames; iterating plays it once, without files that cannot be decoded.

    `shown` is its name for messages. `rate_hz` is as recorded, None for still images. `is_live`:
    frames come at their own pace. `skipped` has the reason for each file skipped so far.
    """

    def __init__(self, shown: str, size_wh: tuple[int, int] | None) -> None:
        self.shown, self._size_wh, self.is_live = shown, size_wh, False
        self.rate_hz: float | None = None
        self.skipped: dict[str, str] = {}

    def __iter__(self) -> Iterator[CameraFrame]:
        raise NotImplementedError

    def _frame(self, name: str, image: Any) -> CameraFrame:
        image_bgr = np.ascontiguousarray(image, dtype=np.uint8)
        return CameraFrame(
            name, image_bgr if self._size_wh is None else fill_size(image_bgr, self._size_wh))


def open_source(source: Path | str, size_wh: tuple[int, int] | None = None) -> ImageSource:
    """
    Open an image folder, an image or a video; a text may also be a webcam or an address.

    Of a folder the images directly inside are played, in the order of their names. Every frame
    gets `size_wh`, unless None. Raises DataError when there is nothing to play.
    """
    if isinstance(source, str):
        if webcam := VideoSource.of_webcam(source):
            return _Video(webcam, size_wh)
        if is_url(source):
            return _Video(VideoSource.of_url(source), size_wh)
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(
                f'{path}: no images in this folder; expected files that end in '
                f'{", ".join(IMAGE_SUFFIXES)}')
        return _ImageFiles(str(path), files, size_wh)
    if not path.is_file():
        raise DataError(
            f'{path}: no such file or folder; give an image, a folder of images, a video, the '
            'index of a webcam or an address')
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _ImageFiles(str(path), [path], size_wh)
    return _Video(VideoSource.of_file(path), size_wh)


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


class _ImageFiles(ImageSource):

    def __init__(self, shown: str, files: list[Path], size_wh: tuple[int, int] | None) -> None:
        super().__init__(shown, size_wh)
        self._files = files
        self._kept: dict[Path, CameraFrame] = {}
        self._kept_bytes = 0

    def __iter__(self) -> Iterator[CameraFrame]:
        for file in self._files:
            if frame := self._kept.get(file) or self._decode(file):
                yield frame

    def _decode(self, file: Path) -> CameraFrame | None:
        try:
            data = file.read_bytes()
            stored_size_wh(data)  # rejects truncated files; cv2 would fill the rest with grey
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise UnsupportedImageError('not an image that OpenCV can decode')
        except (OSError, UnsupportedImageError, cv2.error) as err:
            self.skipped[str(file)] = str(err)
            return None
        frame = self._frame(file.name, image)
        if self._kept_bytes + frame.image_bgr.nbytes <= _KEEP_BYTES:
            self._kept[file] = frame
            self._kept_bytes += frame.image_bgr.nbytes
        return frame


class _Video(ImageSource):

    def __init__(self, video: VideoSource, size_wh: tuple[int, int] | None) -> None:
        super().__init__(video.shown, size_wh)
        self._video = video
        capture = Capture(video)  # opened again to play: a stream would fill its buffers
        self.rate_hz, self.is_live = capture.declared_hz, capture.is_live
        capture.close()

    def __iter__(self) -> Iterator[CameraFrame]:
        capture = Capture(self._video)
        try:
            for number in count(1):
                image = capture.read()
                if image is None:
                    break
                yield self._frame(f'{self._video.name}:{number}', image)
        finally:
            capture.close()
        if number == 1:
            self.skipped[self._video.shown] = 'a video without a frame that can be decoded'
