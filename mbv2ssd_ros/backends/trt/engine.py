"""An engine in GPU memory with its buffers, ready to run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.trt.cuda_graph import CudaGraph, GraphError
from mbv2ssd_ros.backends.trt.nvidia import (
    check,
    create_or_raise,
    describe_gpu,
    failure,
    forget_locals,
    GpuMemoryError,
    Nvidia,
)
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.output_summary import Outputs

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for the default stream
_ALIGNMENT = 256  # bytes, of every address that TensorRT is given
_SAME = 1e-3  # of boxes and scores: the same kernels on the same image


class EngineRunError(BackendError):
    """The GPU failed during a run; later results cannot be relied on."""


class _Buffer:
    """Page-locked CPU memory and its GPU address, or a copy on the GPU."""

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: Any, shared: bool) -> None:
        flags = cuda.host_alloc_flags.DEVICEMAP if shared else 0
        self._cuda = cuda
        self.host: NDArray[Any] = cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        self._device: Any = None
        if shared:
            base: Any = self.host.base
            self.address = int(base.get_device_pointer())
        else:
            self._device = cuda.mem_alloc(self.host.nbytes)
            self.address = int(self._device)
        assert self.address % _ALIGNMENT == 0, 'CUDA aligns what it allocates to 256 bytes'

    def send(self, part: NDArray[Any], stream: Any) -> None:
        """Copy the first part of the CPU's memory to the GPU, unless it is the same."""
        if self._device is not None:
            self._cuda.memcpy_htod_async(self._device, part, stream)

    def fetch(self, part: NDArray[Any], stream: Any) -> None:
        """Copy the first part of the GPU's memory to the CPU, unless it is the same."""
        if self._device is not None:
            self._cuda.memcpy_dtoh_async(part, self._device, stream)

    def free(self) -> None:
        """Free the GPU's memory and release the CPU's, which stays while results refer to it."""
        if self._device is not None:
            try:
                self._device.free()
            except self._cuda.Error:
                pass  # the context was lost, and the memory with it
        del self.host


@dataclass(frozen=True)
class _BatchRun:
    """A context for one batch size, with shapes and addresses set once."""

    context: Any
    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    graph: CudaGraph | None = None  # of all its kernels


class Engine:
    """
    Runs batches of the sizes it was built for. Made, used and closed in one thread.

    A Jetson's GPU reads and writes the CPU's memory; elsewhere the data are copied. `graphs` is a
    phrase for logs: with CUDA graphs, or why not.
    """

    def __init__(self, nvidia: Nvidia, plan: bytes, contract: ModelContract,
                 batch_sizes: tuple[int, ...]) -> None:
        """
        Load a trusted plan; the context is current, batch_sizes in the order of profiles.

        Raises GpuMemoryError where memory is short, EngineRunError where the GPU failed,
        BackendError where TensorRT refuses the plan or it does not match the contract.
        """
        self._nvidia = nvidia
        self._runs: dict[int, _BatchRun] = {}
        self._buffers: dict[str, _Buffer] = {}
        self._runtime: Any = None
        self._engine: Any = None
        self._stream: Any = None
        self.graphs = 'with CUDA graphs'
        try:
            self._load(plan, contract, batch_sizes)
        except nvidia.cuda.MemoryError as err:
            self._give_up(err)
            raise GpuMemoryError(f'the GPU has no memory for the engine ({err})') from err
        except nvidia.cuda.Error as err:
            self._give_up(err)
            raise EngineRunError(f'the GPU failed while the engine was loaded: {err}') from err
        except BaseException as err:
            self._give_up(err)
            raise

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """
        Run one batch of images (B, H, W, 3) uint8, B one of the batch sizes.

        Returns boxes (B, P, 4) and scores (B, P, C), valid until the next run. Raises
        GpuMemoryError where memory is short (the next run may succeed), EngineRunError where the
        GPU failed.
        """
        run, buffers, stream = self._runs[len(images)], self._buffers, self._stream
        np.copyto(run.images, images)
        try:
            buffers['images'].send(run.images, stream)
            self._enqueue(run)
            buffers['boxes'].fetch(run.boxes, stream)
            buffers['scores'].fetch(run.scores, stream)
            stream.synchronize()
        except self._nvidia.cuda.MemoryError as err:
            self._let_finish()
            raise GpuMemoryError(f'the GPU has no memory left ({err})') from err
        except self._nvidia.cuda.Error as err:
            raise EngineRunError(f'the GPU failed: {err}') from err
        except BackendError:
            self._let_finish()
            raise
        return run.boxes, run.scores

    def close(self) -> None:
        """Free everything, users before what they use; the context must be current."""
        self._free_graphs()
        self._runs.clear()
        self._engine = None
        self._runtime = None
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._stream = None

    def _give_up(self, error: BaseException) -> None:
        forget_locals(error)  # among them a context, which must go before what it uses
        self.close()

    def _enqueue(self, run: _BatchRun) -> None:
        if run.graph is not None:
            run.graph.launch()
            return
        logger = self._nvidia.logger
        logger.errors.clear()
        if not run.context.execute_async_v3(self._stream.handle):
            raise failure(logger, 'run the engine')

    def _let_finish(self) -> None:
        """Wait for the work launched before a failure: it uses the buffers."""
        try:
            self._stream.synchronize()
        except self._nvidia.cuda.Error as err:
            raise EngineRunError(f'the GPU failed: {err}') from err

    def _load(self, plan: bytes, contract: ModelContract, batch_sizes: tuple[int, ...]) -> None:
        trt, cuda, logger = self._nvidia.trt, self._nvidia.cuda, self._nvidia.logger
        self._runtime = create_or_raise(trt.Runtime, logger, logger=logger, what='make a runtime')
        self._engine = create_or_raise(self._runtime.deserialize_cuda_engine, plan, logger=logger,
                                       what='load the engine')
        tensors = _tensors(contract)
        _check_tensors(trt, self._engine, tensors, len(batch_sizes))
        self._stream = cuda.Stream(_NON_BLOCKING)
        shared = describe_gpu(cuda).integrated
        for name, (shape, dtype) in tensors.items():
            self._buffers[name] = _Buffer(cuda, (max(batch_sizes), *shape), dtype, shared)
        for profile, size in enumerate(batch_sizes):
            self._runs[size] = self._prepare(profile, size, tensors)
        for size in batch_sizes:  # the first run allocates and is slow
            self.run(np.zeros((size, *tensors['images'][0]), np.uint8))
        if self._nvidia.graphs is None:
            self.graphs = 'without CUDA graphs: cuda-python is not installed'
            return
        try:
            for size in batch_sizes:
                self._record(size)
        except EngineRunError:
            raise
        except BackendError as err:  # some engines cannot be recorded; they run without
            self._free_graphs()
            self.graphs = f'without CUDA graphs: {err}'

    def _record(self, size: int) -> None:
        """Make a graph of a batch size and compare its results with those of the kernels."""
        run = self._runs[size]
        images = np.random.default_rng(size).integers(0, 256, run.images.shape, np.uint8)
        expected = [output.copy() for output in self.run(images)]
        self.run(np.zeros_like(images))  # an empty graph would return these results
        graph = CudaGraph(self._nvidia.graphs, self._stream.handle, lambda: self._enqueue(run))
        self._runs[size] = dataclasses.replace(run, graph=graph)
        if not all(np.allclose(found, one, atol=_SAME)
                   for found, one in zip(self.run(images), expected)):
            raise GraphError('their results differ')

    def _free_graphs(self) -> None:
        for size, run in self._runs.items():
            if run.graph is not None:
                self._runs[size] = dataclasses.replace(run, graph=None)
                run.graph.free()

    def _prepare(self, profile: int, size: int, tensors: _Tensors) -> _BatchRun:
        """Make a context for one batch size; two contexts cannot share a profile."""
        logger = self._nvidia.logger
        context = create_or_raise(self._engine.create_execution_context, logger=logger,
                                  what=f'make a context for batches of {size}')
        check(context.set_optimization_profile_async(profile, self._stream.handle), logger,
              f'choose the profile for batches of {size}')
        self._stream.synchronize()  # the profile must be set before use
        for name, (shape, _) in tensors.items():
            if name == 'images':
                check(context.set_input_shape(name, (size, *shape)), logger,
                      f'set the shape of batches of {size}')
            check(context.set_tensor_address(name, self._buffers[name].address), logger,
                  f'set the address of {name!r}')
        for name, (shape, _) in tensors.items():
            if (found := tuple(context.get_tensor_shape(name))) != (size, *shape):
                raise BackendError(
                    f'the engine has {name!r} of shape {found}, the contract describes '
                    f'{(size, *shape)}')
        images, boxes, scores = (self._buffers[name].host[:size] for name in tensors)
        return _BatchRun(context, images, boxes, scores)


_Tensors = dict[str, tuple[tuple[int, ...], Any]]


def _tensors(contract: ModelContract) -> _Tensors:
    """Return shape without the batch, and type, of each input and output."""
    return {
        'images': ((*contract.input_size_hw, 3), np.uint8),
        'boxes': ((contract.num_priors, 4), np.float32),
        'scores': ((contract.num_priors, contract.num_classes), np.float32)}


def _check_tensors(trt: Any, engine: Any, tensors: _Tensors, profiles: int) -> None:
    """Refuse an engine with other tensors: memory would be read or written at random."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name),
                    engine.get_tensor_location(name)) for name in names}
    types: dict[Any, Any] = {np.uint8: trt.DataType.UINT8, np.float32: trt.DataType.FLOAT}
    expected = {
        name: (trt.TensorIOMode.INPUT if name == 'images' else trt.TensorIOMode.OUTPUT,
               types[dtype], trt.TensorLocation.DEVICE)
        for name, (_, dtype) in tensors.items()}
    if found != expected:
        raise BackendError(f'the engine has the tensors {found}, the contract describes '
                           f'{expected}')
    if engine.num_optimization_profiles != profiles:
        raise BackendError(
            f'the engine has {engine.num_optimization_profiles} profiles, expected {profiles}')
