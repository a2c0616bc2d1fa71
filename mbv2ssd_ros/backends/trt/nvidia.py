"""
NVIDIA's libraries, and the rules of their Python bindings.

They are passed as arguments (`Nvidia`): importing these modules needs neither TensorRT nor a GPU.
One API serves TensorRT 8.6 to 11; where versions differ the code tests for the attribute, never
for a version number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
import importlib
import math
import traceback
from typing import Any, TypeVar

from mbv2ssd_ros.core.errors import BackendError, one_line

Created = TypeVar('Created')
_KEPT_ERRORS = 4


class GpuMemoryError(BackendError):
    """The GPU has not enough memory; the model and its engine are not at fault."""


@dataclass(frozen=True)
class Nvidia:
    """The modules `tensorrt` and `pycuda.driver`, initialised, and TensorRT's logger."""

    trt: Any
    cuda: Any
    logger: Any
    graphs: Any = None  # cuda.bindings.driver of cuda-python, where it is installed


@dataclass(frozen=True)
class Gpu:
    """What an engine is built for."""

    name: str  # 'Orin' for several chips of that family, so the rest matters
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory_gib: int  # to the next power of 2: what the system keeps for itself varies
    integrated: bool  # shares its memory with the CPU, as on a Jetson


def load_nvidia() -> Nvidia:
    """
    Import the libraries and initialise CUDA, with one logger for the process.

    Raises BackendError, with the next step, where one is missing or there is no GPU.
    """
    trt = _import('tensorrt', 'it comes with JetPack (`sudo apt install python3-libnvinfer`; a '
                  'virtual environment needs --system-site-packages)')
    cuda = _import('pycuda.driver', '`pip install pycuda`, with nvcc on PATH (docs/jetson.md)')
    try:
        # First of all: without a driver TensorRT's Runtime is an object that crashes when used.
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as err:
        raise BackendError(
            f'backend tensorrt: CUDA cannot be initialised ({err}); is the NVIDIA driver loaded, '
            'and can this user open /dev/nvidia* (group video)? Or set another backend') from err
    if count < 1:
        raise BackendError(
            'backend tensorrt: CUDA sees no GPU; check CUDA_VISIBLE_DEVICES, or set another '
            'backend')
    try:
        graphs = importlib.import_module('cuda.bindings.driver')
    except ImportError:
        graphs = None
    return Nvidia(trt, cuda, _logger(trt), graphs)


def describe_gpu(cuda: Any) -> Gpu:
    """Describe the first GPU (see CUDA_VISIBLE_DEVICES); CUDA must be initialised."""
    device, attribute = cuda.Device(0), cuda.device_attribute
    return Gpu(
        name=str(device.name()), compute_capability=tuple(device.compute_capability()),
        multiprocessors=int(device.get_attribute(attribute.MULTIPROCESSOR_COUNT)),
        memory_gib=round(2 ** round(math.log2(device.total_memory() / 2 ** 30))),
        integrated=bool(device.get_attribute(attribute.INTEGRATED)
                        and device.get_attribute(attribute.CAN_MAP_HOST_MEMORY)))


@contextmanager
def primary_context(cuda: Any) -> Iterator[None]:
    """
    Make the GPU's primary context, which TensorRT uses, current in this thread.

    Everything made inside must be gone before the end: TensorRT's and pycuda's objects need the
    context when they are destroyed. An error keeps the frames it passed through and their locals,
    so those are cleared.
    """
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        yield
    except BaseException as err:
        forget_locals(err)
        raise
    finally:
        try:
            # A thread that ends with a context on its stack makes pycuda abort the process.
            cuda.Context.pop()
        finally:
            del context  # here, in the thread that made it, and not when an error is forgotten


def forget_locals(error: BaseException) -> None:
    """Clear the frames of an error and its causes; its traceback prints as before."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def create_or_raise(factory: Callable[..., Created | None], *arguments: Any, logger: Any,
                    what: str) -> Created:
    """
    Call a function of TensorRT that reports failure by None or a TypeError.

    `what` completes 'could not ...' in the message. Raises GpuMemoryError where memory is short,
    BackendError for other reasons.
    """
    logger.errors.clear()
    try:
        result = factory(*arguments)
    except TypeError as err:  # the binding of a constructor that got a null pointer
        raise failure(logger, what, str(err)) from err
    # Without a driver a Runtime is returned all the same, and only the log shows the failure.
    if result is None or (isinstance(factory, type) and logger.errors):
        raise failure(logger, what)
    return result


def check(succeeded: bool, logger: Any, what: str) -> None:
    """Raise as `create_or_raise` does where a call of TensorRT returned False."""
    if not succeeded:
        raise failure(logger, what)


def failure(logger: Any, what: str, detail: str = '') -> BackendError:
    """Return the error with what TensorRT logged, or with `detail` where it logged nothing."""
    reason = ' | '.join(logger.errors) or detail or 'it logged no reason'
    kind = GpuMemoryError if is_about_memory(reason) else BackendError
    return kind(f'TensorRT could not {what}: {reason}')


def is_about_memory(reason: str) -> bool:
    """Return whether TensorRT's message reports a lack of memory."""
    plain = reason.lower().replace(' ', '')
    return 'outofmemory' in plain or 'outofdevicememory' in plain


def _import(name: str, remedy: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as err:  # their own imports fail in many ways
        raise BackendError(
            f'backend tensorrt: {name.partition(".")[0]} cannot be imported ({one_line(err)}); '
            f'{remedy}. Or set another backend') from err


@cache
def _logger(trt: Any) -> Any:
    """Make the one logger of the process; it must outlive every object of TensorRT."""
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps the last errors for our messages. Called from any thread."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(' '.join(str(msg).split()))
    return Logger()
