"""Detections in image files, as pictures and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import json
from pathlib import Path
from typing import Any

import cv2

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.drawing import draw_detections
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_train.data.dataset import decode_image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """
    List the image files among files and folders.

    Args:
        inputs: image files, or folders whose images are taken in the order of their names.

    Returns:
        At least one path.

    Raises:
        DataError: a path does not exist, or there is no image.
    """
    found: list[Path] = []
    items = [Path(item) for item in inputs]
    for item in items:
        if item.is_dir():
            found += sorted(p for p in item.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        elif item.is_file():
            found.append(item)
        else:
            raise DataError(f'{item}: no such file or folder')
    if not found:
        raise DataError(f'{", ".join(map(str, items))}: no image with a suffix of '
                        f'{", ".join(IMAGE_SUFFIXES)}')
    return found


def predict(backend: Backend, paths: list[Path], settings: DetectionSettings, output: Path,
            progress: Callable[[Iterable[Path], int], Iterable[Path]]) -> dict[str, Any]:
    """
    Detect in image files; write annotated copies and `detections.json`.

    Args:
        backend: the model.
        paths: image files.
        settings: what counts as a detection.
        output: folder, created where missing.
        progress: wraps the paths, for a progress bar.

    Returns:
        What `detections.json` holds: file name -> list of label, score and box in pixels.

    Raises:
        DataError: a file does not decode, or its copy would overwrite it or another copy.
    """
    pictures = _pictures(paths, output)
    output.mkdir(parents=True, exist_ok=True)
    detector, names = Detector(backend, settings), backend.contract.class_names
    results: dict[str, Any] = {}
    for path in progress(paths, len(paths)):
        pixels = decode_image(path.read_bytes(), str(path))
        detections = detector.detect([SourceImage(pixels, 'bgr')])[0]
        results[path.name] = describe(detections, names)
        annotated = draw_detections(
            pixels, detections.boxes_xyxy, detections.scores,
            [names[label] for label in detections.labels])
        pictures[path].write_bytes(cv2.imencode('.png', annotated)[1].tobytes())
    (output / 'detections.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    return results


def _pictures(paths: list[Path], output: Path) -> dict[Path, Path]:
    """Choose where the annotated copy of each image goes; refuse what would be overwritten."""
    inputs = {path.resolve() for path in paths}
    chosen: dict[Path, Path] = {}
    for path in paths:
        picture = output / f'{path.stem}.png'
        if picture in chosen.values():
            raise DataError(f'{path}: another input would have the same annotated copy '
                            f'{picture}; predict them separately')
        if picture.resolve() in inputs:
            raise DataError(f'{path}: {picture} is an input and would be overwritten by an '
                            'annotated copy; choose another output folder')
        chosen[path] = picture
    return chosen


def describe(detections: Detections, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """
    Turn detections into plain values.

    Args:
        detections: boxes in pixels.
        class_names: of the contract.

    Returns:
        One dictionary for each, best first.
    """
    return [
        {'label': class_names[label], 'score': round(float(score), 4),
         'box_xyxy': [round(float(side), 2) for side in box]}
        for box, score, label in zip(
            detections.boxes_xyxy, detections.scores, detections.labels, strict=True)]
