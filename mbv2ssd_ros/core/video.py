"""Videos, webcams and streams through OpenCV, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import math
import os
from pathlib import Path
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.url import name_of_url, without_secrets

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpg', '.ts', '.webm', '.wmv')
DEFAULT_RATE_HZ = 25.0  # where a source has none
_WAIT_MS = 10_000  # for a stream to open, and for each frame of it


@dataclass(frozen=True)
class VideoSource:
    """A video file, a webcam or a stream."""

    name: str
    shown: str  # where it comes from, for messages; without password
    source: str | int  # for OpenCV: absolute path, URL, or the index of a webcam
    path: Path | None = None  # None: a webcam or a stream

    @classmethod
    def of_file(cls, path: Path, name: str = '') -> VideoSource:
        """Name a file; its own name by default."""
        # absolute: FFmpeg takes what stands before a colon in a relative name for a protocol
        return cls(name or path.name, str(path), str(path.resolve()), path)

    @classmethod
    def of_webcam(cls, text: str) -> VideoSource | None:
        """Read an index or a device, as 0 or /dev/video0; None for anything else."""
        found = re.fullmatch(r'(?:/dev/video)?(\d{1,3})', text)
        return found and cls(f'webcam{int(found[1])}', f'webcam {int(found[1])}', int(found[1]))

    @classmethod
    def of_url(cls, url: str) -> VideoSource:
        """Name a stream, or a video elsewhere."""
        return cls(name_of_url(url), without_secrets(url), url)

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return Path(self.name).stem


class Capture:
    """
    An open video, webcam or stream, used by one thread only.

    `frame_count` and `declared_hz` are None where unknown. `is_live`: frames come at their own
    pace and are lost unless read. Raises DataError where it cannot be opened, with the likely
    cause.
    """

    def __init__(self, video: VideoSource) -> None:
        self._capture = _open(video)
        if not self._capture.isOpened():
            raise DataError(_why_not(video))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # an unknown length is a huge negative number from some sources, 1 from webcams
        has_length = 0 < count < 1e9 and not isinstance(video.source, int)
        self.frame_count = int(count) if has_length else None
        self.is_live = video.path is None and not has_length
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.declared_hz = rate_hz if 0.1 <= rate_hz <= 1000 else None
        self.rate_hz = self.declared_hz or DEFAULT_RATE_HZ

    @property
    def position_s(self) -> float:
        """Time of the last frame in a file; nan where unknown."""
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return position if 0 <= position < 1e9 else math.nan

    def skip(self) -> bool:
        """Skip a frame; False at the end."""
        return self._capture.grab()

    def read(self) -> NDArray[np.uint8] | None:
        """Decode the next frame (H, W, 3); None at the end."""
        found, image = self._capture.read()
        return np.asarray(image, dtype=np.uint8) if found else None

    def close(self) -> None:
        """Free it."""
        self._capture.release()


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from printing on stderr what our errors report."""
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read when FFmpeg is first used
    before = cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(before)


def _open(video: VideoSource) -> cv2.VideoCapture:
    if isinstance(video.source, int):
        return cv2.VideoCapture(video.source)
    if cv2.CAP_FFMPEG not in cv2.videoio_registry.getStreamBackends():
        return cv2.VideoCapture(video.source)  # an OpenCV of another build, with GStreamer
    if video.path is not None:  # older versions know no timeouts
        return cv2.VideoCapture(video.source, cv2.CAP_FFMPEG)
    return cv2.VideoCapture(video.source, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _WAIT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _WAIT_MS])


def _why_not(video: VideoSource) -> str:
    if isinstance(video.source, int):
        there = sorted(str(path) for path in Path('/dev').glob('video*'))
        return (f'{video.shown}: cannot be opened; this machine has '
                f'{", ".join(there) or "no /dev/video*"}. Is it plugged in, free, and may you '
                'read it (group video)?')
    if video.path is None:
        return (f'{video.shown}: no stream can be opened there; check the address, user name and '
                'password with another player')
    hint = ('; a recording that was cut off often lacks its index'
            if video.path.suffix.lower() in VIDEO_SUFFIXES else '')
    return (f'{video.shown}: neither an image nor a video that OpenCV can read '
            f'({video.path.stat().st_size} bytes){hint}')
