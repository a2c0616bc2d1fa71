"""Build an engine with TensorRT's builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import re
from typing import Any

from mbv2ssd_ros.backends.trt.nvidia import create_or_raise, describe_gpu, failure, Nvidia
from mbv2ssd_ros.core.errors import BackendError

RECIPE = 1  # version of this build procedure, part of the engine's key
OPTIMIZATION_LEVEL = 3  # TensorRT's own default
WORKSPACE_MIB = 512  # a limit, not a reservation; ample for a MobileNet [estimate]
# The workspace, TensorRT's and CUDA's libraries, and the weights a few times over [estimate].
NEEDED_MIB = 1024

OnPhase = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """How to build; sent to the child process as JSON."""

    source: str  # name of the model file, for messages
    precision: str  # of the model
    input_size_hw: tuple[int, int]
    batch_sizes: tuple[int, ...]
    optimization_level: int = OPTIMIZATION_LEVEL
    workspace_mib: int = WORKSPACE_MIB
    needed_mib: int = NEEDED_MIB


@dataclass(frozen=True)
class BuiltEngine:
    """The result of a build."""

    plan: bytes
    timing: bytes  # TensorRT's timing cache


def build_engine(nvidia: Nvidia, model: bytes, request: BuildRequest, timing: bytes,
                 on_phase: OnPhase) -> BuiltEngine:
    """
    Build an engine from an ONNX model in this thread, where the GPU's context is current.

    Each batch size has its own profile of exactly that size: its kernels are chosen for it and
    nothing is decided at run time. `timing` is TensorRT's timing cache or empty; `on_phase` gets
    the phases from TensorRT 10 on.

    Raises GpuMemoryError where memory is short, BackendError where TensorRT refuses the model.
    """
    trt, logger = nvidia.trt, nvidia.logger
    _check_memory(nvidia.cuda, request.needed_mib)
    make: Callable[..., Any] = partial(create_or_raise, logger=logger)
    builder = make(trt.Builder, logger, what='make a builder')
    network = make(builder.create_network, network_flags(trt), what='make a network')
    parser = make(trt.OnnxParser, network, logger, what='make a parser')
    if not parser.parse(model):
        raise failure(logger, 'read the model', _parser_errors(parser))
    config = make(builder.create_builder_config, what='make a configuration')
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib * 2 ** 20)
    config.builder_optimization_level = request.optimization_level
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32; fp16 is there for speed
    if not is_typed(trt):
        _set_precision(trt, network, config, request.precision)
    for size in request.batch_sizes:
        shape = (size, *request.input_size_hw, 3)
        profile = builder.create_optimization_profile()
        profile.set_shape('images', shape, shape, shape)
        if config.add_optimization_profile(profile) < 0:
            raise failure(logger, f'use a profile for batches of {size}')
    cache = make(config.create_timing_cache, timing, what='make a timing cache')
    # A cache of another GPU or TensorRT is refused: an empty one takes longer, no more.
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b'')
        config.set_timing_cache(cache, False)
    if hasattr(config, 'progress_monitor'):
        config.progress_monitor = _progress_monitor(trt, on_phase)
    plan = make(builder.build_serialized_network, network, config, what='build an engine')
    return BuiltEngine(bytes(plan), bytes(config.get_timing_cache().serialize()))


def is_typed(trt: Any) -> bool:
    """Return whether TensorRT takes precisions from the model's types (10 and later)."""
    return hasattr(trt.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED')


def network_flags(trt: Any) -> int:
    """Return create_network flags: explicit batch and strong types, where there is a choice."""
    kinds = trt.NetworkDefinitionCreationFlag
    # The numbers of the flags differ between versions; from 11 on both kinds are the only ones.
    return sum(1 << int(getattr(kinds, name)) for name in ('EXPLICIT_BATCH', 'STRONGLY_TYPED')
               if hasattr(kinds, name))


def _set_precision(trt: Any, network: Any, config: Any, precision: str) -> None:
    """Request a precision of an untyped TensorRT (8.6); decoding and softmax stay in fp32."""
    if precision == 'int8':
        config.set_flag(trt.BuilderFlag.INT8)
    if precision == 'fp16':
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for layer in _behind_the_convolutions(trt, network):
            _keep_fp32(trt, layer)


def _behind_the_convolutions(trt: Any, network: Any) -> list[Any]:
    """List the layers between the last convolutions and the outputs."""
    maker = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for output in range(layer.num_outputs):
            maker[layer.get_output(output).name] = layer
    found: dict[str, Any] = {}
    wanted = [network.get_output(index).name for index in range(network.num_outputs)]
    while wanted:
        layer = maker.get(wanted.pop())
        if layer is None or layer.name in found or layer.type == trt.LayerType.CONVOLUTION:
            continue
        found[layer.name] = layer
        inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
        wanted += [tensor.name for tensor in inputs if tensor is not None]
    return list(found.values())


def _keep_fp32(trt: Any, layer: Any) -> None:
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    if all(tensor.dtype in (trt.DataType.FLOAT, trt.DataType.HALF) for tensor in outputs):
        layer.precision = trt.DataType.FLOAT
        for index in range(len(outputs)):
            layer.set_output_type(index, trt.DataType.FLOAT)


def _progress_monitor(trt: Any, on_phase: OnPhase) -> Any:
    class ProgressMonitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Reports phases. Called from any thread; reporting more would slow the build."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                on_phase(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True  # False would cancel the build

        def phase_finish(self, phase_name: str) -> None:
            pass
    return ProgressMonitor()


def _parser_errors(parser: Any) -> str:
    found = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    return ' | '.join(' '.join(str(text).split()) for text in found)


def free_memory_mib(cuda: Any) -> int:
    """Return the MiB a build may take: the system's where GPU and CPU share memory."""
    if describe_gpu(cuda).integrated:  # CUDA's own figure leaves out what could be swapped
        found = re.search(r'^MemAvailable:\s+(\d+) kB', Path('/proc/meminfo').read_text(), re.M)
        if found:
            return int(found[1]) // 1024
    return int(cuda.mem_get_info()[0]) // 2 ** 20


def _check_memory(cuda: Any, needed_mib: int) -> None:
    free = free_memory_mib(cuda)
    if free < needed_mib:
        raise BackendError(
            f'{free} MiB of memory are free and a build may need {needed_mib}; end other '
            'programs, the desktop first, and try again')
