"""The options of prediction: what to write, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES
from mbv2ssd_train.predict.inputs import Inputs

SAVE_CHOICES = ('annotated', 'crops', 'none')


@dataclass(frozen=True)
class PredictOptions:
    """What to write, and how much of a video to process."""

    output: Path
    save: str = 'annotated'  # one of SAVE_CHOICES, in addition to the JSON
    every: int = 1  # process the frames 0, every, 2 * every, ...
    max_frames: int | None = None  # of each video; None: to its end
    reconnect_s: float = 10.0  # how long to try to reach a broken stream again
    show: bool = False

    def __post_init__(self) -> None:
        if self.save not in SAVE_CHOICES:
            raise ConfigError(f'save is {self.save!r}, expected one of {", ".join(SAVE_CHOICES)}')

    def picture_path(self, name: str) -> Path:
        """Return the annotated copy's path; .jpg is added to formats OpenCV cannot write."""
        path = self.output / name
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return path
        return path.with_name(f'{path.name}.jpg')

    def refuse_overwriting(self, inputs: Inputs) -> None:
        """Raise DataError where a result would replace an input, or the output is a file."""
        if self.output.exists() and not self.output.is_dir():
            raise DataError(f'{self.output}: is a file; the output is a folder')
        if self.save != 'annotated':
            return
        results = {self.picture_path(image.name).resolve() for image in inputs.images}
        results |= {(self.output / f'{video.stem}{suffix}').resolve()
                    for video in inputs.videos for suffix in ('.mp4', '.avi')}
        sources = [image.path for image in inputs.images] + [v.path for v in inputs.videos]
        for path in sources:
            if path and path.resolve() in results:
                raise DataError(f'{path}: is an input and would be overwritten by an annotated '
                                'copy; choose another output folder')
