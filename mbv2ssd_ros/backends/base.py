"""
The one interface between the detector and whatever computes the network.

A backend is written once for an engine, passes `test/backends/test_conformance.py`, and gets a
line in `_OPENERS` of opening.py; see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.answer import Difference
from mbv2ssd_ros.core.contract import ModelContract, PRECISIONS
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ShapeError

ANY_PRECISION = 'auto'
CPU_PROVIDER = 'CPUExecutionProvider'
PROGRESS_S = 4.0  # something is said this often while somebody waits: five seconds at most


@dataclass(frozen=True)
class BackendOptions:
    """How a backend may use the machine; each backend reads what concerns it."""

    threads: int = 1  # of one inference on a CPU; 1 is as fast as 2 at camera pace
    spin: bool = False  # let waiting CPU threads spin: faster, at the price of a busy core
    workers: int = 2  # inferences at the same time on a CPU, one camera each
    providers: tuple[str, ...] = (CPU_PROVIDER,)  # of ONNX Runtime, the preferred one first
    precision: str = ANY_PRECISION  # what the model must be, or 'auto'
    engine_cache_dir: str = ''  # where built engines are kept; empty: in the user's cache
    max_batch: int = 1  # images that may come together, as many as there are cameras

    def __post_init__(self) -> None:
        for name in ('threads', 'workers', 'max_batch'):
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} is {getattr(self, name)}, expected at least 1')
        if self.precision not in (ANY_PRECISION, *PRECISIONS):
            raise ConfigError(
                f'precision is {self.precision!r}, expected one of '
                f'{", ".join((ANY_PRECISION, *PRECISIONS))}')
        if not self.providers or len(set(self.providers)) != len(self.providers):
            raise ConfigError(
                f'providers is {list(self.providers)}, expected at least one and none twice, as '
                f"in ['{CPU_PROVIDER}']")


class Log(Protocol):
    """Where a backend says what it does; a logger of Python or of ROS is one."""

    def info(self, message: str, /) -> Any:
        """Say what goes as it should."""

    def warning(self, message: str, /) -> Any:
        """Say what somebody should look at."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Host:
    """Who opens a model: loading may take minutes, so it is told how it goes and may give up."""

    log: Log = logging.getLogger('mbv2ssd_ros')
    cancelled: Callable[[], bool] = _never  # asked several times a second, from any thread


DEFAULT_HOST = Host()


class Backend(Protocol):
    """A loaded model. Ready for `infer` once constructed: warm, checked against its contract."""

    @property
    def name(self) -> str:
        """Short name, as the parameter `backend` has it."""

    @property
    def detail(self) -> str:
        """Version and settings in one line, for logs and diagnostics."""

    @property
    def contract(self) -> ModelContract:
        """What the model file says about itself."""

    @property
    def max_batch(self) -> int:
        """Images that pay to be inferred together; 1 where batching gains nothing."""

    @property
    def max_concurrency(self) -> int:
        """Threads that may call infer at the same time."""

    @property
    def self_test(self) -> Difference | None:
        """How far its self-test was from the right answers; None where the file has none."""

    def infer(self, images: NDArray[np.uint8]
              ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """
        Run the network.

        Args:
            images: (B, H, W, 3) uint8 RGB, C-contiguous, of the contract's input size,
                1 <= B.

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
    """
    Refuse what `infer` does not take.

    Args:
        images: as given.
        shape: (H, W, 3) of one image.

    Raises:
        ShapeError: another dtype or shape, or no image.
    """
    if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) < 1:
        raise ShapeError(
            f'images are {images.dtype} {images.shape}, expected uint8 '
            f'(batch, {", ".join(map(str, shape))})')


def check_precision(contract: ModelContract, wanted: str, source: str) -> None:
    """
    Refuse a model of another precision than was asked for; a backend never converts one.

    Args:
        contract: of the model.
        wanted: 'auto' or one of PRECISIONS.
        source: name of the model file, for messages.

    Raises:
        ConfigError: the model has another one.
    """
    if wanted not in (ANY_PRECISION, contract.precision):
        raise ConfigError(
            f'{source}: its precision is {contract.precision}, the parameter precision asks for '
            f'{wanted}; set model_path to a file of that precision (`mbv2ssd_train export` and '
            f'`mbv2ssd_train quantize` make them), or precision to {ANY_PRECISION}')


def read_model(path: Path) -> bytes:
    """
    Read a model file.

    Args:
        path: of the file.

    Returns:
        Its content.

    Raises:
        BackendError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as err:
        raise BackendError(f'{path}: cannot be read: {err.strerror}') from err
