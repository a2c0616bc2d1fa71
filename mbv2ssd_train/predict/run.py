"""Run prediction: decode ahead, detect, write, and end cleanly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.video import Capture, quiet_opencv, VideoSource
from mbv2ssd_ros.detector import Detector
from mbv2ssd_train.data.image_files import decode_image
from mbv2ssd_train.predict.annotated_video import AnnotatedVideo
from mbv2ssd_train.predict.capture import video_frames, VideoFrame
from mbv2ssd_train.predict.crops import save_image
from mbv2ssd_train.predict.inputs import ImageInput, Inputs
from mbv2ssd_train.predict.look import Looker
from mbv2ssd_train.predict.options import PredictOptions
from mbv2ssd_train.predict.outcome import Outcome
from mbv2ssd_train.predict.read_ahead import ReadAhead
from mbv2ssd_train.predict.records import describe, FrameRecords, ImageRecords
from mbv2ssd_train.process.progress import ProgressBar

_AHEAD = 4  # decoded pictures that may wait: enough for uneven ones, 100 MB in 4K


def predict(backend: Backend, inputs: Inputs, settings: DetectionSettings,
            options: PredictOptions, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """
    Detect in images and videos; write pictures and JSON.

    An unreadable input is reported, counted and skipped. Files on disk are complete after every
    image and frame, videos when this returns or raises. `stop` is polled before every image and
    frame.

    Raises DataError where an input would be overwritten, the output is a file or a written video
    does not read back; ConfigError for an unknown class or a missing display; BackendError where
    the model failed; OSError where the output folder cannot be written.
    """
    options.refuse_overwriting(inputs)
    looker = Looker(Detector(backend, settings), options, stop)
    with ExitStack() as stack:
        stack.callback(looker.close)
        stack.enter_context(quiet_opencv())
        options.output.mkdir(parents=True, exist_ok=True)
        run = _Run(looker, options, stop, stack)
        if inputs.images:
            run.images(inputs.images)
        for video in inputs.videos:
            if not run.stopped():
                run.video(video)
    return run.outcome


class _Run:
    """One run over all inputs, with its open files and counts."""

    def __init__(self, looker: Looker, options: PredictOptions, stop: Callable[[], bool],
                 stack: ExitStack) -> None:
        self.outcome = Outcome()
        self._looker, self._options, self._stop, self._stack = looker, options, stop, stack
        self._frame_records: FrameRecords | None = None

    def stopped(self) -> bool:
        return self._looker.was_closed or self._stop()

    def images(self, images: tuple[ImageInput, ...]) -> None:
        records = ImageRecords(self._options.output / 'detections.json')
        self._stack.callback(records.close)
        ahead = ReadAhead(_decoded(images), _AHEAD)
        with ProgressBar('predict', len(images)) as bar, ahead:
            rate = _Rate()
            for image, pixels in ahead.until(self.stopped):
                if isinstance(pixels, DataError):
                    self._fault(pixels, bar)
                else:
                    found = self._image(image, pixels)
                    records.add(image.name, found)
                    bar.write(f'{image.name}: {_listed(found)}')
                    self.outcome.images += 1
                bar.advance(rate.tick())

    def video(self, video: VideoSource) -> None:
        try:
            capture = Capture(video)
        except DataError as err:
            self._fault(err)
            return
        total = _frames_to_come(capture, self._options)
        with ProgressBar(video.name, total) as bar:
            frames = video_frames(video, capture, self._options.every,
                                  self._options.reconnect_s, bar.write)
            # live sources drop old frames, so that the results do not fall behind
            depth, newest_only = (1, True) if capture.is_live else (_AHEAD, False)
            rate_hz, rate = capture.rate_hz / self._options.every, _Rate()
            seen: Counter[str] = Counter()
            with ReadAhead(frames, depth, newest_only) as ahead, \
                    _VideoOutput(self._options, video, rate_hz, capture.is_live) as output:
                try:
                    for frame in ahead.until(lambda: self._enough(rate.count)):
                        seen.update(self._frame(video, frame, output))
                        self.outcome.frames += 1
                        bar.advance(rate.tick())
                except DataError as err:
                    self._fault(err, bar)
            bar.write(_summary(video.name, rate, seen, ahead.dropped))

    def _enough(self, looked_at: int) -> bool:
        most = self._options.max_frames
        return self.stopped() or (most is not None and looked_at >= most)

    def _image(self, image: ImageInput, pixels: NDArray[np.uint8]) -> list[dict[str, Any]]:
        detections, drawn = self._looker.look(image.name, pixels, until_key=True)
        if self._options.save == 'annotated':
            save_image(self._options.picture_path(image.name), drawn)
        return describe(detections, self._looker.class_names)

    def _frame(self, video: VideoSource, frame: VideoFrame, output: _VideoOutput) -> set[str]:
        """Process a frame; return the names of its classes."""
        detections, drawn = self._looker.look(
            f'{video.stem}/{frame.index:06}', frame.image_bgr, until_key=False)
        output.add(frame, drawn)
        found = describe(detections, self._looker.class_names)
        self._records().add(video.name, frame, found)
        return {item['label'] for item in found}

    def _records(self) -> FrameRecords:
        if self._frame_records is None:
            self._frame_records = FrameRecords(self._options.output / 'detections.jsonl')
            self._stack.callback(self._frame_records.close)
        return self._frame_records

    def _fault(self, err: DataError, bar: ProgressBar | None = None) -> None:
        self.outcome.faults += (str(err),)
        (bar.write if bar else print)(f'fault: {err}')


class _VideoOutput:
    """The annotated video of one source, opened with its first frame, if wanted."""

    def __init__(self, options: PredictOptions, video: VideoSource, rate_hz: float, is_live: bool
                 ) -> None:
        self._wanted = options.save == 'annotated'
        self._path, self._rate_hz, self._is_live = options.output / video.stem, rate_hz, is_live
        self._video: AnnotatedVideo | None = None

    def __enter__(self) -> _VideoOutput:
        return self

    def __exit__(self, *_: object) -> None:
        if self._video:
            self._video.close()

    def add(self, frame: VideoFrame, drawn: NDArray[np.uint8]) -> None:
        if self._wanted:
            if self._video is None:
                size_wh = drawn.shape[1], drawn.shape[0]
                self._video = AnnotatedVideo(self._path, size_wh, self._rate_hz, self._is_live)
            self._video.add(frame, drawn)


class _Rate:
    """Frames per second since the first one was requested."""

    def __init__(self) -> None:
        self.count, self._started = 0, time.monotonic()

    def tick(self) -> str:
        self.count += 1
        return str(self)

    def __str__(self) -> str:
        return f'{self.count / max(1e-6, time.monotonic() - self._started):.1f}/s'


def _decoded(images: tuple[ImageInput, ...]
             ) -> Generator[tuple[ImageInput, NDArray[np.uint8] | DataError], None, None]:
    for image in images:
        try:
            yield image, decode_image(image.read(), image.shown)
        except DataError as err:
            yield image, err
        except OSError as err:
            yield image, DataError(f'{image.shown}: {err.strerror or err}')


def _frames_to_come(capture: Capture, options: PredictOptions) -> int | None:
    """Return how many frames will be processed; None: a live source without limit."""
    if capture.frame_count is None:
        return options.max_frames
    wanted = -(-capture.frame_count // options.every)
    return wanted if options.max_frames is None else min(wanted, options.max_frames)


def _listed(found: list[dict[str, Any]]) -> str:
    return ', '.join(f'{item["label"]} {item["score"]:.2f}' for item in found) or 'nothing'


def _summary(name: str, rate: _Rate, seen: Counter[str], dropped: int) -> str:
    listed = ', '.join(f'{label} in {count}' for label, count in seen.most_common())
    late = f'; {dropped} more came while others were looked at' if dropped else ''
    return f'{name}: {rate.count} frames, {rate}; {listed or "nothing found"}{late}'
