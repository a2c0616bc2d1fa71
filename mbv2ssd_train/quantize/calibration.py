"""The images to calibrate the ranges of activations on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import hashlib

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.onnx_files.check_images import network_input


def choose_images(dataset: Dataset, count: int, seed: int) -> list[int]:
    """
    Draw min(count, len(dataset)) training images, with rare classes; ascending indices.

    Takes a random unused image of each class in turn; images without objects count as a class.
    Never draw from the images that mAP is measured on. Raises ConfigError where count is below 1.
    """
    if count < 1:
        raise ConfigError(f'{count} calibration images, expected at least 1')
    rng = np.random.default_rng(seed)
    by_class: dict[int, list[int]] = {}
    for index in rng.permutation(len(dataset)).tolist():
        for label in set(dataset.records[index].labels.tolist()) or {0}:
            by_class.setdefault(label, []).append(index)
    chosen: set[int] = set()
    queues = [by_class[label] for label in sorted(by_class)]
    while len(chosen) < min(count, len(dataset)):
        for queue in queues:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < count:
                chosen.add(queue.pop())
    return sorted(chosen)


def unseen_classes(dataset: Dataset, indices: list[int]) -> list[str]:
    """Return the classes that no chosen image shows, in class order; their ranges are guesses."""
    seen = {label for index in indices for label in dataset.records[index].labels.tolist()}
    return [name for label, name in enumerate(dataset.class_names, start=1) if label not in seen]


def list_hash(dataset: Dataset, indices: list[int]) -> str:
    """Return 12 hexadecimal digits that identify a set of images, in any order."""
    names = '\n'.join(sorted(dataset.records[index].image_id for index in indices))
    return hashlib.sha256(names.encode()).hexdigest()[:12]


class CalibrationImages(CalibrationDataReader):  # type: ignore[misc]
    """The chosen images, resized as evaluation and the robot resize them."""

    def __init__(self, dataset: Dataset, indices: list[int], contract: ModelContract,
                 advance: Callable[[], None] = lambda: None) -> None:
        """Call `advance` after each image."""
        self._dataset, self._indices, self._contract = dataset, indices, contract
        self._advance = advance
        self.set_range(0, len(indices))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._indices)

    def portion(self, most: int = 16) -> int:
        """
        Return the largest divisor of the number of images up to `most`.

        Calibration holds every map of that many images: 0.1 GB each at 320 x 320 pixels.
        """
        return max(count for count in range(1, most + 1) if len(self) % count == 0)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Continue with the images from start_index up to, without it, end_index."""
        self._images = self._read(self._indices[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next image as the model's input, None at the end."""
        image = next(self._images, None)
        return None if image is None else {'images': image}

    def _read(self, indices: list[int]) -> Iterator[NDArray[np.uint8]]:
        for index in indices:
            yield network_input(self._dataset, index, self._contract)[None]
            self._advance()
