"""From inputs to files: decode ahead, detect, draw and write, and end cleanly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
import signal
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.drawing import draw_detections
from mbv2ssd_ros.core.errors import ConfigError, DataError, Mbv2SsdError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_train.data.dataset import decode_image
from mbv2ssd_train.predict.annotated_video import AnnotatedVideo
from mbv2ssd_train.predict.capture import Capture, quiet_opencv, video_frames, VideoFrame
from mbv2ssd_train.predict.crops import save_crops, save_image
from mbv2ssd_train.predict.inputs import IMAGE_SUFFIXES, ImageInput, Inputs, VideoInput
from mbv2ssd_train.predict.read_ahead import ReadAhead
from mbv2ssd_train.predict.records import describe, FrameRecords, ImageRecords
from mbv2ssd_train.predict.window import Window
from mbv2ssd_train.progress import ProgressBar

SAVE_CHOICES = ('annotated', 'crops', 'none')
_AHEAD = 4  # decoded pictures that may wait: enough for uneven ones, 100 MB in 4K


class Interrupted(Mbv2SsdError):
    """A signal ended the work early; what was done is on disk."""

    def __init__(self, signum: int, done: str) -> None:
        """
        Note the signal.

        Args:
            signum: of the signal.
            done: how far it came, and where the results are.
        """
        super().__init__(f'stopped by {signal.Signals(signum).name}; {done}')
        self.exit_code = 128 + signum


@dataclass(frozen=True)
class PredictOptions:
    """What to write, and how much of a video to look at."""

    output: Path
    save: str = 'annotated'  # one of SAVE_CHOICES, beside the JSON
    every: int = 1  # look at the frames 0, every, 2 * every, ...
    max_frames: int | None = None  # of each video; None: to its end
    reconnect_s: float = 10.0  # how long to try to reach a broken stream again
    show: bool = False

    def __post_init__(self) -> None:
        if self.save not in SAVE_CHOICES:
            raise ConfigError(f'save is {self.save!r}, expected one of {", ".join(SAVE_CHOICES)}')


@dataclass
class Outcome:
    """What became of the inputs."""

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

    An input that cannot be read is told, counted and passed over. Everything on disk is complete
    after every image and frame; videos are when this returns or raises.

    Args:
        backend: the model.
        inputs: what to look at.
        settings: what counts as a detection.
        options: what to write where.
        stop: asked before every image and frame, and while there is none.

    Returns:
        How much was looked at, and what could not be read.

    Raises:
        DataError: an input would be overwritten, the output is a file, or a video that was
            written does not read back.
        ConfigError: a class that the model does not know, or there is no screen to show on.
        BackendError: the model failed.
        OSError: the output folder cannot be written.
    """
    _refuse_overwriting(inputs, options)
    detector = Detector(backend, settings)
    if options.output.exists() and not options.output.is_dir():
        raise DataError(f'{options.output}: is a file; the output is a folder')
    options.output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(quiet_opencv())
        run = _Run(detector, options, stop, stack)
        if inputs.images:
            run.images(inputs.images)
        for video in inputs.videos:
            if not run.stopped():
                run.video(video)
    return run.outcome


class _Run:
    """One run over all inputs: its open files and its counts."""

    def __init__(self, detector: Detector, options: PredictOptions, stop: Callable[[], bool],
                 stack: ExitStack) -> None:
        self.outcome = Outcome()
        self._detector, self._options, self._stop, self._stack = detector, options, stop, stack
        self._names = detector.contract.class_names
        self._window = Window() if options.show else None
        if self._window:
            stack.callback(self._window.close)
        self._frame_records: FrameRecords | None = None
        self._closed_by_user = False

    def stopped(self) -> bool:
        return self._closed_by_user or self._stop()

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
                    found = self._look_at_image(image, pixels)
                    records.add(image.name, found)
                    bar.write(f'{image.name}: {_listed(found)}')
                    self.outcome.images += 1
                bar.advance(rate.tick())

    def video(self, video: VideoInput) -> None:
        try:
            capture = Capture(video)
        except DataError as err:
            self._fault(err)
            return
        total = _frames_to_come(capture, self._options)
        with ProgressBar(video.name, total) as bar:
            frames = video_frames(video, capture, self._options.every,
                                  self._options.reconnect_s, bar.write)
            # of a live source the newest frame counts, so that the results do not fall behind
            depth, newest_only = (1, True) if capture.is_live else (_AHEAD, False)
            rate_hz, rate = capture.rate_hz / self._options.every, _Rate()
            seen: Counter[str] = Counter()
            with ReadAhead(frames, depth, newest_only) as ahead, \
                    _VideoOutput(self._options, video, rate_hz, capture.is_live) as output:
                try:
                    for frame in ahead.until(lambda: self._enough(rate.count)):
                        labels = self._look_at_frame(video, frame, output)
                        seen.update(labels)
                        self.outcome.frames += 1
                        bar.advance(rate.tick())
                except DataError as err:
                    self._fault(err, bar)
            bar.write(_summary(video.name, rate, seen, ahead.dropped))

    def _enough(self, looked_at: int) -> bool:
        most = self._options.max_frames
        return self.stopped() or (most is not None and looked_at >= most)

    def _look_at_image(self, image: ImageInput, pixels: NDArray[np.uint8]) -> list[dict[str, Any]]:
        detections = self._detect(pixels)
        drawn = self._drawn(pixels, detections)
        if self._options.save == 'annotated':
            save_image(picture_path(self._options.output, image.name), drawn)
        self._save_crops(image.name, pixels, detections)
        self._show(drawn, until_key=True)
        return describe(detections, self._names)

    def _look_at_frame(self, video: VideoInput, frame: VideoFrame, output: _VideoOutput
                       ) -> set[str]:
        detections = self._detect(frame.image_bgr)
        drawn = self._drawn(frame.image_bgr, detections)
        output.add(frame, drawn)
        self._save_crops(f'{video.stem}/{frame.index:06}', frame.image_bgr, detections)
        self._records().add(video.name, frame, describe(detections, self._names))
        self._show(drawn, until_key=False)
        return {self._names[label] for label in detections.labels}

    def _detect(self, pixels: NDArray[np.uint8]) -> Detections:
        return self._detector.detect([SourceImage(pixels, 'bgr')])[0]

    def _drawn(self, pixels: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
        if self._options.save != 'annotated' and not self._window:
            return pixels
        return draw_detections(pixels, detections.boxes_xyxy, detections.scores,
                               [self._names[label] for label in detections.labels])

    def _save_crops(self, name: str, pixels: NDArray[np.uint8], detections: Detections) -> None:
        if self._options.save == 'crops':
            save_crops(self._options.output / 'crops', name, pixels, detections, self._names)

    def _show(self, drawn: NDArray[np.uint8], until_key: bool) -> None:
        if self._window and not self._window.show(drawn, until_key):
            self._closed_by_user = True

    def _records(self) -> FrameRecords:
        if self._frame_records is None:
            self._frame_records = FrameRecords(self._options.output / 'detections.jsonl')
            self._stack.callback(self._frame_records.close)
        return self._frame_records

    def _fault(self, err: DataError, bar: ProgressBar | None = None) -> None:
        self.outcome.faults += (str(err),)
        (bar.write if bar else print)(f'fault: {err}')


class _VideoOutput:
    """The annotated video of one source, opened with its first frame; nothing where not wanted."""

    def __init__(self, options: PredictOptions, video: VideoInput, rate_hz: float, is_live: bool
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
    """Frames in a second, since the first one was asked for."""

    def __init__(self) -> None:
        self.count, self._started = 0, time.monotonic()

    def tick(self) -> str:
        self.count += 1
        return str(self)

    def __str__(self) -> str:
        return f'{self.count / max(1e-6, time.monotonic() - self._started):.1f}/s'


def picture_path(output: Path, name: str) -> Path:
    """
    Choose where the annotated copy of an image goes.

    Args:
        output: folder.
        name: of the image input.

    Returns:
        The same name; with .jpg behind it where OpenCV could not write its format.
    """
    path = output / name
    return path if path.suffix.lower() in IMAGE_SUFFIXES else path.with_name(f'{path.name}.jpg')


def _refuse_overwriting(inputs: Inputs, options: PredictOptions) -> None:
    results = {picture_path(options.output, image.name).resolve() for image in inputs.images}
    results |= {(options.output / f'{video.stem}{suffix}').resolve()
                for video in inputs.videos for suffix in ('.mp4', '.avi')}
    sources = [item.path for item in inputs.images] + [item.path for item in inputs.videos]
    for path in sources:
        if options.save == 'annotated' and path and path.resolve() in results:
            raise DataError(f'{path}: is an input and would be overwritten by an annotated '
                            'copy; choose another output folder')


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
    """Return how many frames will be looked at; None of a live source without limit."""
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
