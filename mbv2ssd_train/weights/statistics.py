"""BatchNorm statistics for weights that came with their BatchNorm folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn, Tensor

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image import resize_into, SourceImage
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.data.image_files import decode_image, read_file
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.model.fold import conv_norm_pairs
from mbv2ssd_train.run.checkpoint import Checkpoint


def find_photographs(folder: Path, most: int) -> list[Path]:
    """Choose `most` pictures evenly from a folder, sorted by name; DataError if it has none."""
    files = sorted(file for file in folder.glob('*') if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f'{folder}: no folder with pictures ({", ".join(IMAGE_SUFFIXES)}) in it; '
                        'name one, such as the JPEGImages of VOC or the train2017 of COCO')
    chosen = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)
    return [files[index] for index in chosen]


def photographs(paths: Iterable[Path], config: ModelConfig) -> Iterator[NDArray[np.uint8]]:
    """Read pictures as (H, W, 3) uint8 RGB, resized for the network; DataError if one is not."""
    for path in paths:
        image = np.empty((*config.input_size_hw, 3), dtype=np.uint8)
        pixels = decode_image(read_file(path), str(path))
        resize_into(SourceImage(pixels, 'bgr'), config.resize_mode, image)
        yield image


def with_statistics(checkpoint: Checkpoint, images: Iterable[NDArray[np.uint8]]) -> Checkpoint:
    """
    Measure mean and variance of every BatchNorm; scale and shift compensate: same outputs.

    Without statistics a BatchNorm normalises differently as soon as it learns, and what its layers
    learnt before is lost. Images are (H, W, 3) uint8 RGB of the input size, at least a hundred.
    """
    config = checkpoint.parsed_config()
    network = build_network(config)
    network.load_state_dict(checkpoint.averaged)
    model = DeployModel(network, config.model)
    observers = _observe(network)
    with torch.inference_mode():
        for image in images:
            network(model.normalise(torch.from_numpy(image[None])))
    weights = dict(checkpoint.averaged)
    for name, observer in observers.items():
        weights.update({f'{name}.{key}': value for key, value in observer.measured().items()})
    return replace(checkpoint, model=weights, averaged=weights)


def _observe(network: nn.Module) -> dict[str, _Observer]:
    """Replace every BatchNorm by an observer."""
    found = {}
    for name, layers, index in list(conv_norm_pairs(network)):
        observer = _Observer(layers[index + 1])
        layers[index + 1] = found[f'{name}.{index + 1}'] = observer
    return found


class _Observer(nn.Module):
    """A BatchNorm with fixed statistics that measures those of its input."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()  # in training mode, else convolve_normalise folds it
        self.norm = norm
        self.count = 0
        self.sums = torch.zeros(2, norm.num_features, dtype=torch.float64)  # of values, squares

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        self.count += x.numel() // x.shape[1]
        self.sums += torch.stack([part.sum((0, 2, 3), dtype=torch.float64)
                                  for part in (x, x.square())])
        y: Tensor = self.norm(x)
        return y

    def measured(self) -> dict[str, Tensor]:
        """Return the parameters of a BatchNorm with the measured statistics."""
        norm, (mean, square) = self.norm, self.sums / self.count
        variance = (square - mean.square()).clamp_min(0)
        gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        return {'weight': (gain * (variance + norm.eps).sqrt()).float(),
                'bias': (norm.bias.detach() + gain * (mean - norm.running_mean)).float(),
                'running_mean': mean.float(), 'running_var': variance.float()}
