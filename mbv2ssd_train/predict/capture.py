"""The frames of a video or a stream with their times; a broken stream is reopened."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
import math
import time

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.video import Capture, VideoSource

_RETRY_S = 1.0  # between two attempts to open a stream again


@dataclass(frozen=True)
class VideoFrame:
    """One picture of a video."""

    index: int  # among all frames of the source, from 0
    time_s: float  # since the first frame: of a file as recorded, of a live source as it arrived
    image_bgr: NDArray[np.uint8]  # (H, W, 3)


def video_frames(video: VideoSource, capture: Capture, every: int = 1, reconnect_s: float = 10.0,
                 report: Callable[[str], None] = print) -> Generator[VideoFrame, None, None]:
    """
    Yield the frames 0, every, 2 * every, ... of a video, or of a live source forever.

    The capture is closed at the end. A broken stream is reopened for up to reconnect_s seconds (0:
    not at all); `report` gets a line then and when it resumes. Raises DataError, after all good
    frames, where a file is truncated or a live source did not come back.
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
                capture = _reopen(video, index, reconnect_s, report)
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
    _last_s: float | None = None  # position in the file

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
    _started = 0.0

    def tick(self, index: int, capture: Capture) -> None:
        now = time.monotonic()
        self._started = self._started or now
        self.time_s = now - self._started


def _refuse_truncated(video: VideoSource, capture: Capture, read: int, last_s: float) -> None:
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


def _reopen(video: VideoSource, read: int, reconnect_s: float, report: Callable[[str], None]
            ) -> Capture:
    broke, attempts = time.monotonic(), 0
    while time.monotonic() - broke < reconnect_s:
        if not attempts:
            report(f'{video.shown}: broke after {read} frames; trying again for {reconnect_s:g} s')
        else:
            time.sleep(_RETRY_S)
        attempts += 1
        try:
            capture = Capture(video)
        except DataError:
            continue
        report(f'{video.shown}: resumed')
        return capture
    raise DataError(
        f'{video.shown}: broke after {read} frames'
        + (f' and did not come back within {reconnect_s:g} s (--reconnect)' if attempts
           else '; --reconnect SECONDS would try again') + '. What came before is kept')
