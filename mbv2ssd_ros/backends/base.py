"""
The one interface between the detector and whatever computes the network.

A backend is written once for an engine, passes `test/backends/test_conformance.py`, and gets a
line in `_OPENERS`; see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError, ConfigError


@dataclass(frozen=True)
class BackendOptions:
    """How a backend may use the machine; each backend reads what concerns it."""

    threads: int = 1  # of one inference on a CPU; 1 is as fast as 2 at camera pace
    spin: bool = False  # let waiting CPU threads spin: faster, at the price of a busy core
    workers: int = 2  # inferences at the same time on a CPU, one camera each

    def __post_init__(self) -> None:
        for name, count in (('threads', self.threads), ('workers', self.workers)):
            if count < 1:
                raise ConfigError(f'{name} is {count}, expected at least 1')


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

    def infer(self, images: NDArray[np.uint8]
              ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """
        Run the network.

        Args:
            images: (B, H, W, 3) uint8 RGB, C-contiguous, of the contract's input size,
                1 <= B.

        Returns:
            boxes (B, P, 4) float32 xyxy in [0, 1] and scores (B, P, C) float32. Valid until the
            next call from the same thread.

        Raises:
            ShapeError: images are not as described.
            BackendError: the engine failed; the next call may succeed.
        """

    def close(self) -> None:
        """Free the engine; no call may follow but another close."""


def warm_up(backend: Backend, source: str) -> None:
    """
    Run a black image, for the constructor of a backend.

    The first run is the slow one, and a model that computes nan shall fail here, not in the field.

    Args:
        backend: ready for `infer`.
        source: name of the model file, for messages.

    Raises:
        BackendError: the engine failed, or an output is not finite.
    """
    outputs = backend.infer(np.zeros((1, *backend.contract.input_size_hw, 3), dtype=np.uint8))
    for name, output in zip(('boxes', 'scores'), outputs, strict=True):
        if not np.isfinite(output).all():
            raise BackendError(
                f'{source}: {np.count_nonzero(~np.isfinite(output))} of {output.size} values of '
                f'output {name!r} are not finite for a black image; export the model again, or '
                'in another precision')


Opener = Callable[[Path, BackendOptions], Backend]


def _open_onnxruntime(model_path: Path, options: BackendOptions) -> Backend:
    # Imported here: a machine needs the library of the backend it uses, no other.
    try:
        from mbv2ssd_ros.backends.ort import OrtBackend
    except ImportError as err:
        raise BackendError(
            f'backend onnxruntime: onnxruntime cannot be imported ({err}); `pip install '
            'onnxruntime`, or set another backend') from err
    return OrtBackend(model_path, options)


_OPENERS: dict[str, Opener] = {'onnxruntime': _open_onnxruntime}
BACKENDS = ('auto', *_OPENERS)


def open_backend(name: str, model_path: str | Path, options: BackendOptions) -> Backend:
    """
    Load a model into the engine of that name.

    Args:
        name: one of BACKENDS; 'auto' takes the first one that this machine has and is the only
            name that ever chooses.
        model_path: of an ONNX file with a contract.
        options: how the engine may use the machine.

    Returns:
        The backend, warmed up.

    Raises:
        ConfigError: no backend of that name.
        BackendError: the engine or the file is missing, or the engine refuses the file.
        ContractError: the file has no contract or disagrees with it.
    """
    if name not in BACKENDS:
        raise ConfigError(f'backend is {name!r}, expected one of {", ".join(BACKENDS)}')
    path = Path(model_path)
    if not path.is_file():
        raise BackendError(
            f'{path}: no such model file; set model_path to an ONNX file made by '
            '`mbv2ssd_train export`')
    return _OPENERS['onnxruntime' if name == 'auto' else name](path, options)
