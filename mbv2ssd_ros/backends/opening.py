"""Open a model with a named backend, or with the best one available."""

from __future__ import annotations

from collections.abc import Callable
import importlib.util
from pathlib import Path

from mbv2ssd_ros.backends.base import Backend, DEFAULT_LOAD_CONTEXT, LoadContext, Log
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import BackendError, ConfigError

Opener = Callable[[Path, BackendOptions, LoadContext], Backend]


def _open_onnxruntime(model_path: Path, options: BackendOptions, loading: LoadContext) -> Backend:
    # Imported here: a machine needs the library of the backend it uses, no other.
    try:
        from mbv2ssd_ros.backends.ort import OrtBackend
    except ImportError as err:
        raise BackendError(
            f'backend onnxruntime: onnxruntime cannot be imported ({err}); `pip install '
            'onnxruntime`, or set another backend') from err
    return OrtBackend(model_path, options, loading.log)


def _open_tensorrt(model_path: Path, options: BackendOptions, loading: LoadContext) -> Backend:
    from mbv2ssd_ros.backends.trt.backend import TrtBackend
    from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
    return TrtBackend(model_path, options, loading, load_nvidia())


_OPENERS: dict[str, Opener] = {'onnxruntime': _open_onnxruntime, 'tensorrt': _open_tensorrt}
BACKENDS = ('auto', *_OPENERS)


def open_backend(name: str, model_path: str | Path, options: BackendOptions,
                 loading: LoadContext = DEFAULT_LOAD_CONTEXT) -> Backend:
    """
    Load a model into the named engine and warm it up.

    'auto' takes TensorRT where it is usable, else ONNX Runtime, and logs the choice and why; no
    other name chooses. Raises ConfigError for an unknown name or a model of another precision,
    BackendError where the engine or the file is missing or the engine refuses the file,
    ContractError where the file has no contract or disagrees with it.
    """
    if name not in BACKENDS:
        raise ConfigError(f'backend is {name!r}, expected one of {", ".join(BACKENDS)}')
    path = Path(model_path)
    if not path.is_file():
        raise BackendError(
            f'{path}: no such model file; set model_path to an ONNX file made by '
            '`mbv2ssd_train export`')
    return _OPENERS[_choose(loading.log) if name == 'auto' else name](path, options, loading)


def _choose(log: Log) -> str:
    """Choose TensorRT where it is usable; log the choice and why."""
    from mbv2ssd_ros.backends.trt.nvidia import describe_gpu, load_nvidia
    if importlib.util.find_spec('tensorrt') is None:
        log.info('backend auto takes onnxruntime: TensorRT is not installed for this Python')
        return 'onnxruntime'
    try:
        nvidia = load_nvidia()
    except BackendError as err:
        # TensorRT is installed, so its user should learn why it is not used.
        log.warning(f'backend auto takes onnxruntime: {err}')
        return 'onnxruntime'
    log.info(f'backend auto takes tensorrt: TensorRT {nvidia.trt.__version__} and a GPU '
             f'({describe_gpu(nvidia.cuda).name}) are available')
    return 'tensorrt'
