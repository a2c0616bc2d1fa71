"""Run prediction: decode ahead, detect, write, and end cleanly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
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
from mbv2ssd_train.predict.capture import video_frames
from mbv2ssd_train.predict.crops import save_image
from mbv2ssd_train.predict.frame_predictor import FramePredictor
from mbv2ssd_train.predict.inputs import ImageInput, Inputs
from mbv2ssd_train.predict.options import PredictOptions
from mbv2ssd_train.predict.read_ahead import ReadAhead
from mbv2ssd_train.predict.records import describe, FrameRecords, ImageRecords
from mbv2ssd_train.process.progress import ProgressBar

_AHEAD = 4  # decoded pictures that may wait: enough for uneven ones, 100 MB in 4K


@dataclass
class Outcome:
    """How many inputs were processed, and which failed."""

    images: int = 0
    frames: int = 0
    faults: tuple[str, ...] = ()  # inputs that could not be read, or not to their end

    def __str__(self) -> str:
        counts = ((self.images, 'image'), (self.frames, 'frame'))
        return ' and '.join(f'{count} {noun}{"s" * (count != 1)}'
                            for count, noun in counts if count) or 'nothing'


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
    with ExitStack() as stack:
        predictor = FramePredictor(Detector(backend, settings), options, stop, stack)
        stack.enter_context(quiet_opencv())
        options.output.mkdir(parents=True, exist_ok=True)
        run = _Run(predictor, options, stop, stack)
        if inputs.images:
            run.images(inputs.images)
        for video in inputs.videos:
            if not run.stopped():
                run.video(video)
    return run.outcome


class _Run:
    """One run over all inputs, with its open files and counts."""

    def __init__(self, predictor: FramePredictor, options: PredictOptions,
                 stop: Callable[[], bool], stack: ExitStack) -> None:
        self.outcome = Outcome()
        self._predictor, self._options, self._stop, self._stack = predictor, options, stop, stack
        self._frame_records: FrameRecords | None = None

    def stopped(self) -> bool:
        return self._predictor.was_closed or self._stop()

    def images(self, images: tuple[ImageInput, ...]) -> None:
        records = ImageRecords(self._options.output / 'detections.json')
        self._stack.callback(records.close)
        ahead = ReadAhead(_decoded(images), _AHEAD)
        with ProgressBar('predict', len(images)) as bar, ahead:
            rate = _Rate()
            for image, pixels in ahead.until(self.stopped):
                if isinstance(pixels, DataError):
                    self._fault(pixels, bar.write)
                else:
                    detections, drawn = self._predictor.predict(
                        image.name, pixels, until_key=True)
                    if self._options.save == 'annotated':
                        save_image(self._options.picture_path(image.name), drawn)
                    found = describe(detections, self._predictor.class_names)
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
        options, seen = self._options, Counter[str]()
        # live sources drop old frames, so that the results do not fall behind
        depth = 1 if capture.is_live else _AHEAD
        with ProgressBar(video.name, _frames_to_come(capture, options)) as bar, \
                ExitStack() as outputs:
            ahead = outputs.enter_context(ReadAhead(
                video_frames(video, capture, options.every, options.reconnect_s, bar.write),
                depth, newest_only=capture.is_live))
            rate, annotated = _Rate(), AnnotatedVideo(
                options.output / video.stem, capture.rate_hz / options.every, capture.is_live)
            outputs.callback(annotated.close)
            try:
                for frame in ahead.until(
                        lambda: self.stopped() or rate.count == options.max_frames):
                    detections, drawn = self._predictor.predict(
                        f'{video.stem}/{frame.index:06}', frame.image_bgr, until_key=False)
                    if options.save == 'annotated':
                        annotated.add(frame, drawn)
                    found = describe(detections, self._predictor.class_names)
                    self._records().add(video.name, frame, found)
                    seen.update({item['label'] for item in found})
                    self.outcome.frames += 1
                    bar.advance(rate.tick())
            except DataError as err:
                self._fault(err, bar.write)
            outputs.close()
            bar.write(_summary(video.name, rate, seen, ahead.dropped))

    def _records(self) -> FrameRecords:
        if self._frame_records is None:
            self._frame_records = FrameRecords(self._options.output / 'detections.jsonl')
            self._stack.callback(self._frame_records.close)
        return self._frame_records

    def _fault(self, err: DataError, report: Callable[[str], None] = print) -> None:
        self.outcome.faults += (str(err),)
        report(f'fault: {err}')


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
    late = f'; {dropped} more came meanwhile and were dropped' if dropped else ''
    return f'{name}: {rate.count} frames, {rate}; {listed or "nothing found"}{late}'
