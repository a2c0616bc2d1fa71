"""Open a model, a checkpoint or an ONNX file."""

from __future__ import annotations

from pathlib import Path

from mbv2ssd_ros.backends.base import Backend, read_model
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.onnx_metadata import read_metadata
from mbv2ssd_train.data.identity import Learnt, LEARNT_KEY

CHECKPOINT_SUFFIXES = ('.pt', '.pth')


def open_model(path: str | Path) -> Backend:
    """
    Open an .onnx file or a .pt checkpoint, the latter on the GPU where there is one.

    Raises DataError for another suffix or a broken checkpoint, BackendError and ContractError as
    open_backend does.
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


def read_learnt(path: str | Path) -> Learnt | None:
    """Return what a checkpoint or an .onnx file learnt from; None where the file does not say."""
    source = Path(path)
    if source.suffix == '.onnx':
        text = read_metadata(read_model(source), str(source)).get(LEARNT_KEY)
        return None if text is None else Learnt.from_text(text, str(source))
    from mbv2ssd_train.run.checkpoint import load_checkpoint
    return load_checkpoint(source).learnt()
