"""The inputs of prediction: images, folders, globs, videos, webcams, URLs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
import glob
from pathlib import Path
import re

import cv2

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES
from mbv2ssd_ros.core.url import is_url, name_of_url, without_secrets
from mbv2ssd_ros.core.video import VIDEO_SUFFIXES, VideoSource
from mbv2ssd_train.data.image_files import UNREAD_SUFFIXES
from mbv2ssd_train.predict.url import fetch_image

# those of formats that are not read get an error each
_PICTURES = (*IMAGE_SUFFIXES, *UNREAD_SUFFIXES)


@dataclass(frozen=True)
class ImageInput:
    """A still image."""

    name: str  # of its entry in detections.json and of its annotated copy, with / for folders
    shown: str  # where it comes from, for messages
    read: Callable[[], bytes]  # the encoded image
    path: Path | None = None  # None: not on this machine


@dataclass(frozen=True)
class Inputs:
    """Everything to predict on, once each."""

    images: tuple[ImageInput, ...]
    videos: tuple[VideoSource, ...]


def find_inputs(texts: Iterable[str], output: Path, recursive: bool = False) -> Inputs:
    """
    Resolve image files, folders, globs, videos, webcam indices and URLs.

    Folders and globs are read in the order of names, without files in the output folder. Raises
    DataError where nothing is found, a URL cannot be read, or two inputs have the same name and so
    the same results.
    """
    images: dict[str, ImageInput] = {}
    videos: dict[str, VideoSource] = {}
    for text in texts:
        for found in _find(text, output.resolve(), recursive):
            if isinstance(found, ImageInput):
                _add(images, found.name, found)
            else:
                _add(videos, found.stem, found)
    return Inputs(tuple(images.values()), tuple(videos.values()))


def _find(text: str, output: Path, recursive: bool) -> Iterable[ImageInput | VideoSource]:
    path = Path(text)
    if not text:  # a variable of a shell that is not set
        raise DataError('an input is empty; expected images, folders, a video, the index of a '
                        'webcam or a URL')
    if is_url(text):
        return [_of_url(text)]
    if camera := VideoSource.of_webcam(text):
        return [camera]
    if path.is_dir():
        return _of_folder(path, output, recursive)
    if path.is_file():
        return [_of_file(path, path.name)]
    if re.search(r'[*?[]', text):
        return _of_glob(text, output)
    raise DataError(f'{text}: no such file or folder; expected images, folders, a video, the '
                    'index of a webcam or a URL')


def _of_url(url: str) -> ImageInput | VideoSource:
    image = fetch_image(url)
    if image is None:
        return VideoSource.of_url(url)
    encoded = image
    return ImageInput(name_of_url(url), without_secrets(url), lambda: encoded)


def _of_file(path: Path, name: str) -> ImageInput | VideoSource:
    if path.suffix.lower() in _PICTURES or cv2.haveImageReader(str(path)):
        return ImageInput(name, str(path), partial(path.read_bytes), path)
    return VideoSource.of_file(path, name)


def _of_folder(folder: Path, output: Path, recursive: bool) -> list[ImageInput | VideoSource]:
    files = sorted(folder.rglob('*') if recursive else folder.iterdir())
    found = [_of_file(file, file.relative_to(folder).as_posix())
             for file in _images_outside(files, output)]
    if not found:
        videos = [file.name for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        hint = ('; give videos by name: ' + ', '.join(videos[:3]) if videos
                else '' if recursive else '; --recursive looks into the folders in it')
        raise DataError(f'{folder}: no image with a suffix of {", ".join(IMAGE_SUFFIXES)} in this '
                        f'folder{hint}')
    return found


def _images_outside(files: Iterable[Path], output: Path) -> Iterator[Path]:
    """Skip earlier results and hidden files: other systems keep notes next to images."""
    for file in files:
        if (file.suffix.lower() in _PICTURES and not file.name.startswith('.')
                and output not in file.resolve().parents and file.is_file()):
            yield file


def _of_glob(pattern: str, output: Path) -> list[ImageInput | VideoSource]:
    files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    found = [_of_file(file, file.name) for file in files
             if file.is_file() and output not in file.resolve().parents]
    if not found:
        raise DataError(f'{pattern}: no file has such a name')
    return found


def _add(known: dict, name: str, item: ImageInput | VideoSource) -> None:
    """Add an input once, even if named twice; refuse a different one of the same name."""
    before = known.setdefault(name, item)
    same_file = item.path and before.path and item.path.resolve() == before.path.resolve()
    if before is not item and not same_file and item.shown != before.shown:
        raise DataError(
            f'{before.shown} and {item.shown} would both have the results {name!r}; predict '
            'them separately, or give the folder above both with --recursive')
