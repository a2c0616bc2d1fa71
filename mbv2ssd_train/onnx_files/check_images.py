"""Network inputs to compare models on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.agreement import fixed_images
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.image import resize_into, SourceImage
from mbv2ssd_train.data.dataset import Dataset

_SYNTHETIC = 16


def network_input(dataset: Dataset, index: int, contract: ModelContract) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB, resized as in evaluation and on the robot."""
    image = np.empty((*contract.input_size_hw, 3), dtype=np.uint8)
    resize_into(SourceImage(dataset.image(index), 'bgr'), contract.resize_mode, image)
    return image


def images_of(dataset: Dataset | None, count: int, contract: ModelContract
              ) -> list[NDArray[np.uint8]]:
    """
    Take up to count images from all over a data set; make coloured blobs where it is None.

    (H, W, 3) uint8 RGB, the same for the same arguments; ConfigError where count is below 1.
    """
    if count < 1:
        raise ConfigError(f'{count} images to compare on, expected at least 1')
    if dataset is None:
        return list(fixed_images(_SYNTHETIC, contract.input_size_hw))
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return [network_input(dataset, index, contract) for index in chosen.tolist()]
