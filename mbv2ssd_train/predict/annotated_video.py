"""An annotated video, in a format that this OpenCV can write."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
import tempfile
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.predict.capture import VideoFrame

# MPEG-4 needs a fifth of the space of Motion JPEG; the second is in every OpenCV.
_FORMS = (('.mp4', 'mp4v'), ('.avi', 'MJPG'))
_LONGEST_GAP_S = 10.0  # of a stream that stood still; the video leaves out the rest


class AnnotatedVideo:
    """
    A video file with a constant rate that follows the time of the frames.

    A frame is repeated until the next one; frames of a live source above the rate are left out. So
    the video plays at the speed of the source.
    """

    def __init__(self, path: Path, rate_hz: float, is_live: bool) -> None:
        """Take a path without suffix, which follows with the first frame, and a rate."""
        self.path = path
        self._rate_hz, self._is_live = rate_hz, is_live
        self._size_wh = (0, 0)
        self._writer: Any = None
        self._written, self._last_s = 0, 0.0
        self._skipped_s = 0.0  # of gaps, which the video leaves out

    def add(self, frame: VideoFrame, drawn: NDArray[np.uint8]) -> None:
        """
        Write a frame for its duration; `drawn` is fitted into the size of the first frame.

        Raises DataError where this OpenCV writes no video of that size.
        """
        if self._writer is None:
            self._open(drawn.shape[1], drawn.shape[0])
        gap_s = frame.time_s - self._last_s
        self._skipped_s += max(0.0, gap_s - _LONGEST_GAP_S)
        self._last_s = frame.time_s
        due = int((frame.time_s - self._skipped_s) * self._rate_hz + 0.5) + 1 - self._written
        picture = _fitted(drawn, self._size_wh)
        for _ in range(due if self._is_live else max(1, due)):
            self._writer.write(picture)
            self._written += 1

    def close(self) -> None:
        """Finish the file, if any; DataError where it does not read back, as on a full disk."""
        if self._writer is None:
            return
        self._writer.release()
        found = _read_back(self.path)
        if found != (self._written, self._size_wh):
            raise DataError(
                f'{self.path}: {found[0]} frames of {found[1][0]} x {found[1][1]} are there, '
                f'{self._written} of {self._size_wh[0]} x {self._size_wh[1]} were written; is the '
                'disk full?')

    def _open(self, width: int, height: int) -> None:
        # an odd side would be cut by the encoder without a word
        self._size_wh = (width + width % 2, height + height % 2)
        suffix, codec = video_form(self._size_wh)
        self.path = self.path.with_name(self.path.name + suffix)
        self._writer = _writer(self.path, codec, self._rate_hz, self._size_wh)


@lru_cache(maxsize=16)
def video_form(size_wh: tuple[int, int]) -> tuple[str, str]:
    """Return suffix and codec that OpenCV writes and reads back; DataError where none works."""
    with tempfile.TemporaryDirectory(prefix='mbv2ssd-') as folder:
        for suffix, codec in _FORMS:
            path = Path(folder, f'probe{suffix}')
            writer = _writer(path, codec, 10.0, size_wh)
            for shade in (0, 255):
                writer.write(np.full((size_wh[1], size_wh[0], 3), shade, np.uint8))
            writer.release()
            if _read_back(path) == (2, size_wh):
                return suffix, codec
    raise DataError(
        f'this OpenCV ({cv2.__version__}) writes no video of {size_wh[0]} x {size_wh[1]} pixels; '
        'tried ' + ', '.join(f'{codec} in {suffix}' for suffix, codec in _FORMS)
        + '. --save none or --save crops needs no video')


def _writer(path: Path, codec: str, rate_hz: float, size_wh: tuple[int, int]) -> Any:
    fourcc = cv2.VideoWriter.fourcc(*codec)
    return cv2.VideoWriter(str(path), fourcc, rate_hz, size_wh)


def _read_back(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of frames and width and height; zeros where the first does not decode."""
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    found, image = capture.read()
    capture.release()
    return (count, (image.shape[1], image.shape[0])) if found else (0, (0, 0))


def _fitted(image: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    right, below = size_wh[0] - width, size_wh[1] - height
    if (right, below) == (0, 0):
        return image
    if 0 <= right <= 1 and 0 <= below <= 1:
        return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))
