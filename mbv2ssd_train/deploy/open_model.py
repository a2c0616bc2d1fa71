"""Open whatever a user calls a model: a checkpoint or an ONNX file."""

from __future__ import annotations

from pathlib import Path

from mbv2ssd_ros.backends.base import Backend, BackendOptions
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.core.errors import DataError

CHECKPOINT_SUFFIXES = ('.pt', '.pth')


def open_model(path: str | Path) -> Backend:
    """
    Load a model for evaluation or prediction; a checkpoint on the GPU where there is one.

    Args:
        path: .onnx, or the .pt checkpoint of a run.

    Returns:
        A backend.

    Raises:
        DataError: the suffix is neither, or the checkpoint cannot be read.
        BackendError: ONNX Runtime refuses the file.
        ContractError: the file has no contract or disagrees with it.
    """
    source = Path(path)
    if source.suffix == '.onnx':
        return open_backend('onnxruntime', source, BackendOptions())
    if source.suffix in CHECKPOINT_SUFFIXES:
        # Imported here: scoring an ONNX file needs no PyTorch.
        from mbv2ssd_train.deploy.contract import open_checkpoint
        from mbv2ssd_train.process.distributed import choose_device
        from mbv2ssd_train.run.checkpoint import load_checkpoint
        return open_checkpoint(load_checkpoint(source), choose_device('auto'))
    raise DataError(f'{source}: neither an .onnx file nor a checkpoint '
                    f'({", ".join(CHECKPOINT_SUFFIXES)})')
