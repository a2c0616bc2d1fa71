"""TensorRT: the backend for a Jetson."""

from __future__ import annotations

import atexit
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import check_images, LoadContext
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.backends.trt.build_process import build_in_child
from mbv2ssd_ros.backends.trt.cuda_worker import CudaWorker
from mbv2ssd_ros.backends.trt.engine import EngineRunError
from mbv2ssd_ros.backends.trt.nvidia import describe_gpu, Nvidia
from mbv2ssd_ros.backends.trt.provider import Build, EngineProvider, LoadedEngine
from mbv2ssd_ros.core.answer import Difference
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError


class TrtBackend:
    """
    A model in TensorRT, its engine taken from the cache or built, which takes minutes.

    The model's self-test runs before use. One thread owns the GPU's context; images are batched,
    since a small network leaves most of a GPU idle. `engine_path` is None where the engine could
    not be kept.

    Raises BackendError where there is no correct engine or the GPU fails, ConfigError for another
    precision than requested, ContractError for a wrong contract.
    """

    def __init__(self, model_path: Path, options: BackendOptions, loading: LoadContext,
                 nvidia: Nvidia, build: Build = build_in_child) -> None:
        self._source = str(model_path)
        self._options = options
        self._nvidia = nvidia
        self._log = loading.log
        self._gpu = describe_gpu(nvidia.cuda)
        self._engine: LoadedEngine | None = None
        self._lost = ''  # why the GPU cannot be used any more
        self._worker = CudaWorker(nvidia)
        try:
            provider = EngineProvider(
                model_path, options, loading, nvidia, self._gpu, self._worker, build)
            self._engine = provider.obtain()
            self.engine_path, self._graphs = self._engine.path, self._engine.graphs
            self._contract, self._proof = self._engine.contract, self._engine.self_test
            self._shape = (*self._contract.input_size_hw, 3)
        except BaseException:
            self.close()
            raise
        # Else a forgotten close() would free the GPU's memory where its context is not current.
        atexit.register(self.close)

    @property
    def name(self) -> str:
        """Short name, as the parameter `backend` has it."""
        return 'tensorrt'

    @property
    def detail(self) -> str:
        """Version and settings in one line, for logs and diagnostics."""
        major, minor = self._gpu.compute_capability
        return (f'TensorRT {self._nvidia.trt.__version__} on {self._gpu.name} (SM {major}.'
                f'{minor}), batches of 1 to {self.max_batch}, {self._graphs}')

    @property
    def contract(self) -> ModelContract:
        """Contract of the model file."""
        return self._contract

    @property
    def max_batch(self) -> int:
        """Images that pay to be inferred together."""
        return self._options.max_batch

    @property
    def max_concurrency(self) -> int:
        """Threads that may call infer at the same time: the GPU runs one job at a time."""
        return 1

    @property
    def self_test(self) -> Difference | None:
        """Differences from the reference outputs of the self-test."""
        return self._proof

    def infer(self, images: NDArray[np.uint8]
              ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network; see Backend.infer."""
        check_images(images, self._shape)
        if len(images) <= self.max_batch:
            return self._run(images)
        parts = []
        for start in range(0, len(images), self.max_batch):
            boxes, scores = self._run(images[start:start + self.max_batch])
            parts.append((boxes.copy(), scores.copy()))
        return (np.concatenate([boxes for boxes, _ in parts]),
                np.concatenate([scores for _, scores in parts]))

    def close(self) -> None:
        """Free the engine, in the thread that made it."""
        atexit.unregister(self.close)
        engine, self._engine = self._engine, None
        if not self._worker.close(None if engine is None else engine.free):
            self._log.warning(
                f'{self._source}: the GPU does not answer, so its thread and memory are left '
                'behind; restart the process')

    def _run(self, images: NDArray[np.uint8]
             ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        engine = self._engine  # close() in another thread lets this call finish
        if engine is None:
            raise BackendError(f'{self._source}: this model was closed; open it again')
        if self._lost:
            raise BackendError(self._lost)
        try:
            return engine.run(images)
        except EngineRunError as err:
            self._lost = (
                f'{self._source}: {err}. The GPU cannot be used until the model is opened again: '
                'clean the node up and configure it, or restart its process')
            raise BackendError(self._lost) from err
        except BackendError as err:
            raise BackendError(f'{self._source}: {err}') from err
