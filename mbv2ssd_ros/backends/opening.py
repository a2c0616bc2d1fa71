"""Opening a model with the backend of a name, or with the best one that is there."""

from __future__ import annotations

from collections.abc import Callable
import importlib.util
from pathlib import Path

from mbv2ssd_ros.backends.base import Backend, BackendOptions, DEFAULT_HOST, Host, Log
from mbv2ssd_ros.core.errors import BackendError, ConfigError

Opener = Callable[[Path, BackendOptions, Host], Backend]


def _open_onnxruntime(model_path: Path, options: BackendOptions, host: Host) -> Backend:
    # Imported here: a machine needs the library of the backend it uses, no other.
    try:
        from mbv2ssd_ros.backends.ort import OrtBackend
    except ImportError as err:
        raise BackendError(
            f'backend onnxruntime: onnxruntime cannot be imported ({err}); `pip install '
            'onnxruntime`, or set another backend') from err
    return OrtBackend(model_path, options, host.log)


def _open_tensorrt(model_path: Path, options: BackendOptions, host: Host) -> Backend:
    from mbv2ssd_ros.backends.trt.backend import TrtBackend
    from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
    return TrtBackend(model_path, options, host, load_nvidia())


_OPENERS: dict[str, Opener] = {'onnxruntime': _open_onnxruntime, 'tensorrt': _open_tensorrt}
BACKENDS = ('auto', *_OPENERS)


def open_backend(name: str, model_path: str | Path, options: BackendOptions,
                 host: Host = DEFAULT_HOST) -> Backend:
    """
    Load a model into the engine of that name.

    Args:
        name: one of BACKENDS; 'auto' takes TensorRT where it can be used and ONNX Runtime
            elsewhere, says which and why, and is the only name that ever chooses.
        model_path: of an ONNX file with a contract.
        options: how the engine may use the machine.
        host: who opens it.

    Returns:
        The backend, warmed up.

    Raises:
        ConfigError: no backend of that name, or a model of another precision.
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
    return _OPENERS[_choose(host.log) if name == 'auto' else name](path, options, host)


def _choose(log: Log) -> str:
    """Take TensorRT where it can be used; say what was taken, and why."""
    from mbv2ssd_ros.backends.trt.nvidia import describe_gpu, load_nvidia
    if importlib.util.find_spec('tensorrt') is None:
        log.info('backend auto takes onnxruntime: TensorRT is not installed for this Python')
        return 'onnxruntime'
    try:
        nvidia = load_nvidia()
    except BackendError as err:
        # Where TensorRT is installed somebody wants it, and should hear what is amiss.
        log.warning(f'backend auto takes onnxruntime: {err}')
        return 'onnxruntime'
    log.info(f'backend auto takes tensorrt: TensorRT {nvidia.trt.__version__} and a GPU '
             f'({describe_gpu(nvidia.cuda).name}) are here')
    return 'tensorrt'
