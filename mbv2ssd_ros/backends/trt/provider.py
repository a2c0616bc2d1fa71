"""Load the engine of a model: from the cache, or built, checked and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import hashlib
from pathlib import Path
import platform
import time

from mbv2ssd_ros.backends.agreement import check_agreement, compare
from mbv2ssd_ros.backends.base import Backend, check_precision, LoadContext, read_model
from mbv2ssd_ros.backends.first_run import (
    describe_margin,
    first_run,
    read_self_test,
    without_self_test,
)
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.backends.trt.build import (
    BuildRequest,
    BuiltEngine,
    OPTIMIZATION_LEVEL,
    RECIPE,
    WORKSPACE_MIB,
)
from mbv2ssd_ros.backends.trt.cache import EngineCache
from mbv2ssd_ros.backends.trt.cuda_worker import CudaWorker
from mbv2ssd_ros.backends.trt.engine import Engine, EngineRunError
from mbv2ssd_ros.backends.trt.manifest import (
    EngineKey,
    Manifest,
    manifest_for,
    UnusableEngineError,
)
from mbv2ssd_ros.backends.trt.nvidia import Gpu, GpuMemoryError, Nvidia
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError, ContractError
from mbv2ssd_ros.core.onnx_metadata import read_metadata
from mbv2ssd_ros.core.output_summary import Difference

Build = Callable[[bytes, BuildRequest, bytes, LoadContext], BuiltEngine]


class EngineProvider:
    """Finds, builds and keeps the engine of one model."""

    def __init__(self, model_path: Path, options: BackendOptions, loading: LoadContext,
                 nvidia: Nvidia, gpu: Gpu, worker: CudaWorker, build: Build) -> None:
        """
        Read the model and open the cache; the worker's thread owns the GPU's context.

        Raises BackendError where the model cannot be read or the cache is not private,
        ContractError where the model has no contract.
        """
        self._model_path = model_path
        self._source = str(model_path)
        self._options = options
        self._loading = loading
        self._nvidia = nvidia
        self._worker = worker
        self._build = build
        self._model = read_model(model_path)
        metadata = read_metadata(self._model, self._source)
        self.contract = ModelContract.from_metadata(metadata, self._source)
        self.engine_path: Path | None = None  # where the engine is kept, if it is
        self.self_test: Difference | None = None  # differences from the reference outputs
        self._self_test = read_self_test(metadata, self.contract, self._source)
        if self._self_test is None:
            loading.log.info(without_self_test(self._source))
        self._cache = EngineCache(options.trt.engine_cache_dir, loading)
        self._key = EngineKey(
            model_sha256=hashlib.sha256(self._model).hexdigest(),
            tensorrt=str(nvidia.trt.__version__), gpu=gpu.name,
            compute_capability=gpu.compute_capability, multiprocessors=gpu.multiprocessors,
            gpu_memory_gib=gpu.memory_gib, machine=platform.machine(),
            batch_sizes=tuple(range(1, options.max_batch + 1)),
            optimization_level=OPTIMIZATION_LEVEL, workspace_mib=WORKSPACE_MIB, recipe=RECIPE)
        self._name = self._cache.name(model_path, self._key)

    def obtain(self) -> Engine:
        """
        Load the engine, or build it once.

        Raises BackendError where no correct engine can be built, ConfigError for another precision
        than requested, ContractError for a wrong contract.
        """
        try:
            if engine := self._kept():
                return engine
        except UnusableEngineError:
            pass  # another process may be writing it: look again under the lock
        with self._cache.locked(self._name):
            try:
                if engine := self._kept():
                    return engine
            except UnusableEngineError as err:
                self._cache.quarantine(self._name, str(err))
            return self._built()

    def _kept(self) -> Engine | None:
        kept = self._cache.find(self._name, self._key)
        if kept is None:
            return None
        try:
            contract = ModelContract.from_json(kept.manifest.contract, 'its manifest')
        except (ContractError, TypeError) as err:
            raise UnusableEngineError(str(err)) from err
        check_precision(contract, self._options.precision, self._source)
        try:
            engine = self._load(kept.plan, contract)
            margin = self._checked(engine, contract)
        except (GpuMemoryError, EngineRunError) as err:  # the engine is not at fault
            raise BackendError(f'{self._source}: {err}') from err
        except BackendError as err:
            raise UnusableEngineError(str(err)) from err
        self.contract, self.engine_path = contract, self._cache.engine_path(self._name)
        self._loading.log.info(
            f'{self.engine_path}: engine loaded ({margin or kept.manifest.agreement})')
        return engine

    def _built(self) -> Engine:
        # Without a self-test the engine is compared with ONNX Runtime, which refuses files
        # of other origin.
        reference = self._reference() if self._self_test is None else None
        try:
            if read_model(self._model_path) != self._model:  # the cache key is of _model
                raise BackendError(
                    f'{self._source}: was changed while it was read; open it again')
            contract = self.contract
            check_precision(contract, self._options.precision, self._source)
            self._announce(contract)
            started = time.monotonic()
            request = BuildRequest(
                self._source, contract.precision, contract.input_size_hw, self._key.batch_sizes)
            built = self._build(
                self._model, request, self._cache.timing(self._key), self._loading)
            build_s = time.monotonic() - started
            try:
                engine = self._load(built.plan, contract)
            except BackendError as err:
                raise BackendError(f'{self._source}: {err}') from err
            agreement = self._checked(engine, contract, reference)
        finally:
            if reference is not None:
                reference.close()
        self._loading.log.info(f'{self._source}: engine built in {build_s:.0f} s; {agreement}')
        if self._cache.writable:
            self.engine_path = self._keep(built, manifest_for(
                self._key, built.plan, contract.to_json(), agreement, build_s))
        return engine

    def _keep(self, built: BuiltEngine, manifest: Manifest) -> Path | None:
        try:
            self._cache.keep(self._name, built.plan, manifest)
            self._cache.keep_timing(self._name, self._key, built.timing)
            return self._cache.engine_path(self._name)
        except OSError as err:
            self._loading.log.warning(
                f'{self._cache.folder}: the engine cannot be kept ({err.strerror}), so it will '
                'be built again at the next start; make room or set engine_cache_dir')
            return None

    def _checked(self, engine: Engine, contract: ModelContract,
                 reference: Backend | None = None) -> str:
        """Run an engine for the first time; returns its agreement, or closes it and raises."""
        run = partial(self._worker.call, engine.run)
        try:
            if reference is not None:
                difference = compare(run, reference.infer, self._key.batch_sizes,
                                     contract.input_size_hw)
                check_agreement(difference, contract.precision, self._source)
                return f'{difference} from ONNX Runtime'
            found = self.self_test = first_run(
                run, contract, self._self_test, self._source,
                f'TensorRT {self._key.tensorrt} on {self._key.gpu}', self._key.batch_sizes)
            return f'self-test passed with {describe_margin(found, contract.precision)}' \
                if found else ''
        except BaseException:
            self._worker.call(engine.close)
            raise

    def _load(self, plan: bytes, contract: ModelContract) -> Engine:
        return self._worker.call(Engine, self._nvidia, plan, contract, self._key.batch_sizes)

    def _reference(self) -> Backend:
        try:
            from mbv2ssd_ros.backends.ort import OrtBackend
        except ImportError as err:
            raise BackendError(
                f'backend tensorrt: {self._source} has no self-test, so a new engine is compared '
                f'with ONNX Runtime, which cannot be imported ({err}); `pip install onnxruntime`, '
                'or add one with `mbv2ssd_train self-test`') from err
        return OrtBackend(self._model_path, BackendOptions())

    def _announce(self, contract: ModelContract) -> None:
        self._loading.log.info(
            f'{self._source}: building a TensorRT engine for batches of 1 to '
            f'{self._key.batch_sizes[-1]} on {self._key.gpu}; this takes minutes on a Jetson')
        if contract.precision == 'fp32':
            self._loading.log.info(
                f'{self._source} is fp32; a GPU is usually faster with its fp16 copy: '
                '`mbv2ssd_train export --precision fp16` (docs/jetson.md)')
        if not self._cache.writable:
            self._loading.log.warning(
                f'{self._cache.folder} is read-only, so the engine will be built again at the '
                'next start; set engine_cache_dir to a folder that can be written')

