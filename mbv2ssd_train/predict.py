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
    for item in map(Path, inputs):
        if item.is_dir():
            found += sorted(p for p in item.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        elif item.is_file():
            found.append(item)
        else:
            raise DataError(f'{item}: no such file or folder')
    if not found:
        raise DataError(f'no image with a suffix of {", ".join(IMAGE_SUFFIXES)} found')
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
        DataError: a file does not decode, or two files have the same name.
    """
    output.mkdir(parents=True, exist_ok=True)
    detector, names = Detector(backend, settings), backend.contract.class_names
    results: dict[str, Any] = {}
    for path in progress(paths, len(paths)):
        if path.name in results:
            raise DataError(f'{path}: another input has the same name; predict them separately')
        pixels = decode_image(path.read_bytes(), str(path))
        detections = detector.detect([SourceImage(pixels, 'bgr')])[0]
        results[path.name] = describe(detections, names)
        annotated = draw_detections(
            pixels, detections.boxes_xyxy, detections.scores,
            [names[label] for label in detections.labels])
        cv2.imwrite(str(output / f'{path.stem}.png'), annotated)
    (output / 'detections.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    return results


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
