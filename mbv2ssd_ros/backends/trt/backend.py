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
from mbv2ssd_ros.backends.trt.engine import Engine, EngineRunError
from mbv2ssd_ros.backends.trt.nvidia import describe_gpu, Nvidia
from mbv2ssd_ros.backends.trt.provider import Build, EngineProvider
from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.output_summary import Outputs


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
        self._source, self._log = str(model_path), loading.log
        self._engine: Engine | None = None
        self._lost = ''  # why the GPU cannot be used any more
        gpu = describe_gpu(nvidia.cuda)
        self._worker = CudaWorker(nvidia)
        try:
            provider = EngineProvider(
                model_path, options, loading, nvidia, gpu, self._worker, build)
            self._engine = provider.obtain()
        except BaseException:
            self.close()
            raise
        self.engine_path, self.self_test = provider.engine_path, provider.self_test
        self.name, self.contract = 'tensorrt', provider.contract
        self.max_batch = options.max_batch
        self.max_concurrency = 1  # the GPU runs one job at a time
        major, minor = gpu.compute_capability
        self.detail = (f'TensorRT {nvidia.trt.__version__} on {gpu.name} (SM {major}.{minor}), '
                       f'batches of 1 to {self.max_batch}, {self._engine.graphs}')
        self._shape = (*self.contract.input_size_hw, 3)
        # Else a forgotten close() would free the GPU's memory where its context is not current.
        atexit.register(self.close)

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
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
        if not self._worker.close(None if engine is None else engine.close):
            self._log.warning(
                f'{self._source}: the GPU does not respond, so its thread and memory stay '
                'allocated; restart the process')

    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        engine = self._engine  # close() in another thread lets this call finish
        if engine is None:
            raise BackendError(f'{self._source}: this model was closed; open it again')
        if self._lost:
            raise BackendError(self._lost)
        try:
            return self._worker.call(engine.run, images)
        except EngineRunError as err:
            self._lost = (
                f'{self._source}: {err}. The GPU cannot be used until the model is opened again: '
                'clean the node up and configure it, or restart its process')
            raise BackendError(self._lost) from err
        except BackendError as err:
            raise BackendError(f'{self._source}: {err}') from err
