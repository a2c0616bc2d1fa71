"""Videos, webcams and streams through OpenCV, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import math
import os
from pathlib import Path
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.predict.inputs import VIDEO_SUFFIXES, VideoInput

DEFAULT_RATE_HZ = 25.0  # where a source has none
_WAIT_MS = 10_000  # for a stream to open, and for each frame of it
_RETRY_S = 1.0  # between two attempts to open a stream again


@dataclass(frozen=True)
class VideoFrame:
    """One picture of a video."""

    index: int  # among all frames of the source, from 0
    time_s: float  # since the first frame: of a file as recorded, of a live source as it arrived
    image_bgr: NDArray[np.uint8]  # (H, W, 3)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from printing on stderr what our errors report."""
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read when FFmpeg is first used
    before = cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(before)


class Capture:
    """
    An open video, webcam or stream, used by one thread only.

    `frame_count` is None where unknown. `is_live`: frames come at their own pace and are lost
    unless read. Raises DataError where it cannot be opened, with the likely cause.
    """

    def __init__(self, video: VideoInput) -> None:
        self._capture = _open(video)
        if not self._capture.isOpened():
            raise DataError(_why_not(video))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # an unknown length is a huge negative number from some sources, 1 from webcams
        has_length = 0 < count < 1e9 and not isinstance(video.source, int)
        self.frame_count = int(count) if has_length else None
        self.is_live = video.path is None and not has_length
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate if 0.1 <= rate <= 1000 else DEFAULT_RATE_HZ

    @property
    def position_s(self) -> float:
        """Time of the last frame in a file; nan where unknown."""
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return position if 0 <= position < 1e9 else math.nan

    def skip(self) -> bool:
        """Skip a frame; False where there is none."""
        return bool(self._capture.grab())

    def read(self) -> NDArray[np.uint8] | None:
        """Decode the next frame; None where there is none."""
        found, image = self._capture.read()
        return np.asarray(image, dtype=np.uint8) if found else None

    def close(self) -> None:
        """Free it."""
        self._capture.release()


def _open(video: VideoInput) -> Any:
    if isinstance(video.source, int):
        return cv2.VideoCapture(video.source)
    if cv2.CAP_FFMPEG not in cv2.videoio_registry.getStreamBackends():
        return cv2.VideoCapture(video.source)  # an OpenCV of another build, with GStreamer
    return cv2.VideoCapture(video.source, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _WAIT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _WAIT_MS])


def _why_not(video: VideoInput) -> str:
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


def video_frames(video: VideoInput, capture: Capture, every: int = 1, reconnect_s: float = 10.0,
                 tell: Callable[[str], None] = print) -> Generator[VideoFrame, None, None]:
    """
    Yield the frames 0, every, 2 * every, ... of a video, or of a live source for ever.

    The capture is closed at the end. A broken stream is reopened for up to reconnect_s seconds (0:
    not at all); `tell` gets a line when it breaks and when it resumes. Raises DataError, after all
    good frames, where a file is truncated or a live source did not come back.
    """
    clock = _FileClock() if not capture.is_live else _LiveClock()
    index = 0
    try:
        while True:
            wanted = index % every == 0
            image = capture.read() if wanted else None
            if image is None and (wanted or not capture.skip()):
                if not capture.is_live:
                    _refuse_truncated(video, capture, index, clock.time_s)
                    return
                capture.close()
                capture = _reopen(video, index, reconnect_s, tell)
                continue
            clock.tick(index, capture)
            if image is not None:
                yield VideoFrame(index, clock.time_s, image)
            index += 1
    finally:
        capture.close()


class _FileClock:
    """Time as recorded, from 0; continues where the file's own restarts, as between clips."""

    time_s = 0.0

    def __init__(self) -> None:
        self._last_s: float | None = None  # position in the file

    def tick(self, index: int, capture: Capture) -> None:
        position_s = capture.position_s
        if math.isnan(position_s):
            position_s = index / capture.rate_hz
        if self._last_s is not None:
            passed_s = position_s - self._last_s
            self.time_s += passed_s if passed_s >= 0 else 1 / capture.rate_hz
        self._last_s = position_s


class _LiveClock:
    """Time since the first frame arrived."""

    time_s = 0.0

    def __init__(self) -> None:
        self._started: float | None = None

    def tick(self, index: int, capture: Capture) -> None:
        now = time.monotonic()
        self._started = self._started or now
        self.time_s = now - self._started


def _refuse_truncated(video: VideoInput, capture: Capture, read: int, last_s: float) -> None:
    """
    Raise DataError for a file that ends before its declared length.

    Compares times: the number of frames of a video with variable rate is an estimate.
    """
    declared = capture.frame_count or read
    length_s = declared / capture.rate_hz
    interval_s = max(1 / capture.rate_hz, last_s / max(1, read - 1))
    if read and (read >= declared or length_s - last_s <= 2.5 * interval_s):
        return
    hint = '' if video.path else ', or its server sends no parts of files'
    raise DataError(f'{video.shown}: ends after {read} frames ({last_s:.1f} s), its header '
                    f'declares {declared} ({length_s:.1f} s): it is truncated or damaged'
                    f'{hint}. What could be decoded is kept')


def _reopen(video: VideoInput, read: int, reconnect_s: float, tell: Callable[[str], None]
            ) -> Capture:
    broke, attempts = time.monotonic(), 0
    while time.monotonic() - broke < reconnect_s:
        if not attempts:
            tell(f'{video.shown}: broke after {read} frames; trying again for {reconnect_s:g} s')
        else:
            time.sleep(_RETRY_S)
        attempts += 1
        try:
            capture = Capture(video)
        except DataError:
            continue
        tell(f'{video.shown}: goes on')
        return capture
    raise DataError(
        f'{video.shown}: broke after {read} frames'
        + (f' and did not come back within {reconnect_s:g} s (--reconnect)' if attempts
           else '; --reconnect SECONDS would try again') + '. What came before is kept')
