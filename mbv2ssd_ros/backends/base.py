"""The interface between the detector and inference engines; CONTRIBUTING.md: how to add one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.options import ANY_PRECISION
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ShapeError
from mbv2ssd_ros.core.output_summary import Difference, Outputs

PROGRESS_S = 4.0  # seconds between progress lines


class Log(Protocol):
    """Receives messages of a backend; loggers of Python and of ROS fit."""

    def info(self, message: str, /) -> Any:
        """Log normal progress."""

    def warning(self, message: str, /) -> Any:
        """Log what a user should check."""


@dataclass(frozen=True)
class LoadContext:
    """Log and cancel hook for a load that may take minutes."""

    log: Log = logging.getLogger('mbv2ssd_ros')
    cancelled: Callable[[], bool] = lambda: False  # asked several times a second, from any thread


DEFAULT_LOAD_CONTEXT = LoadContext()


class Backend(Protocol):
    """A loaded model. Ready for `infer` once constructed: warm, checked against its contract."""

    name: str  # as the parameter `backend` has it
    detail: str  # version and settings in one line, for logs and diagnostics
    contract: ModelContract  # of the model file
    max_batch: int  # images that pay to be inferred together; 1 where batching gains nothing
    max_concurrency: int  # threads that may call infer at the same time
    self_test: Difference | None  # differences from the reference outputs; None without any

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """
        Run the network on images (B, H, W, 3) uint8 RGB, C-contiguous, of the input size, 1 <= B.

        Returns:
            boxes (B, P, 4) float32 xyxy in [0, 1] and scores (B, P, C) float32. Valid until the
            next call from the same thread; where max_concurrency is 1, until the next call.

        Raises:
            ShapeError: images are not as described.
            BackendError: the engine failed; the next call may succeed.
        """

    def close(self) -> None:
        """Free the engine; no call may follow but another close."""


def check_images(images: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless images are uint8 (B, *shape) with B >= 1."""
    if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) < 1:
        raise ShapeError(
            f'images are {images.dtype} {images.shape}, expected uint8 '
            f'(batch, {", ".join(map(str, shape))})')


def check_precision(contract: ModelContract, wanted: str, source: str) -> None:
    """Raise ConfigError for another precision than requested; no backend converts a model."""
    if wanted not in (ANY_PRECISION, contract.precision):
        raise ConfigError(
            f'{source}: its precision is {contract.precision}, the parameter precision asks for '
            f'{wanted}; set model_path to a file of that precision (`mbv2ssd_train export` and '
            f'`mbv2ssd_train quantize` make them), or precision to {ANY_PRECISION}')


def read_model(path: Path) -> bytes:
    """Read a model file; BackendError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise BackendError(f'{path}: cannot be read: {err.strerror}') from err
