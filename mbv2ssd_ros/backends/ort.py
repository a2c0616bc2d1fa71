"""ONNX Runtime: the backend for any machine, on its CPU by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from mbv2ssd_ros.backends.base import (
    check_images,
    check_precision,
    DEFAULT_LOAD_CONTEXT,
    Log,
    read_model,
)
from mbv2ssd_ros.backends.first_run import first_run, read_self_test, without_self_test
from mbv2ssd_ros.backends.options import BackendOptions, CPU_PROVIDER, OrtOptions
from mbv2ssd_ros.backends.saturation import kernels_saturate
from mbv2ssd_ros.core.contract import ModelContract, SATURATION_FREE_KEY
from mbv2ssd_ros.core.errors import BackendError, ContractError, one_line
from mbv2ssd_ros.core.onnx_metadata import read_metadata
from mbv2ssd_ros.core.output_summary import Outputs
from mbv2ssd_ros.core.processor import describe_processor

_OUTPUTS = ['boxes', 'scores']


class OrtBackend:
    """
    A model in ONNX Runtime, checked against its contract and self-test once constructed.

    One session serves every thread: run() releases the GIL and is thread safe. Single frames from
    two threads beat a batch (four cameras: 16.3 against 20.3 ms), so max_batch is 1.

    Raises BackendError where a provider is missing, the file is refused or its self-test fails,
    ConfigError for another precision than requested, ContractError for a wrong contract.
    """

    def __init__(self, model_path: Path, options: BackendOptions,
                 log: Log = DEFAULT_LOAD_CONTEXT.log) -> None:
        own, source = options.ort, str(model_path)
        _check_providers(own.providers)
        metadata = read_metadata(read_model(model_path), source)
        self.contract = ModelContract.from_metadata(metadata, source)
        check_precision(self.contract, options.precision, source)
        self_test = read_self_test(metadata, self.contract, source)
        self.name, self.max_batch, self.max_concurrency = 'onnxruntime', 1, own.workers
        used = ' + '.join(name.removesuffix('ExecutionProvider') for name in own.providers)
        self.detail = (f'ONNX Runtime {onnxruntime.__version__}, {used}, '
                       f'{own.threads} thread(s) an inference')
        settings = _settings(own)
        if (self.contract.precision == 'int8' and CPU_PROVIDER in own.providers
                and metadata.get(SATURATION_FREE_KEY) != '1' and kernels_saturate()):
            settings.add_session_config_entry('session.x64quantprecision', '1')
            self.detail += ', x64quantprecision'
            log.warning(_slow_but_exact(source))
        self._source, self._shape = source, (*self.contract.input_size_hw, 3)
        self._session = _open(source, settings, own.providers)
        try:
            _check_graph(self._session, self.contract, source)
        except UnicodeDecodeError as err:  # a damaged byte in a name
            raise ContractError(
                f'{model_path}: damaged, it has text that is not UTF-8 ({err.reason})') from err
        if self_test is None:
            log.info(without_self_test(source))
        self.self_test = first_run(self.infer, self.contract, self_test, source, self.detail)

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """Run the network; see Backend.infer."""
        check_images(images, self._shape)
        session = self._session  # close() in another thread lets this call finish
        if session is None:
            raise BackendError(f'{self._source}: this model was closed; open it again')
        try:
            boxes, scores = session.run(_OUTPUTS, {'images': images})
        except Exception as err:  # as in _open
            raise BackendError(
                f'{self._source}: ONNX Runtime failed: {one_line(err)}') from err
        return boxes, scores

    def close(self) -> None:
        """Free the session."""
        self._session = None


def _check_providers(wanted: tuple[str, ...]) -> None:
    """Refuse a provider that this build of ONNX Runtime does not have."""
    present = onnxruntime.get_available_providers()
    if missing := [name for name in wanted if name not in present]:
        raise BackendError(
            f'providers: this ONNX Runtime {onnxruntime.__version__} has no {", ".join(missing)}, '
            f'only {", ".join(present)}; install a build with them, or remove them')


def _check_used_providers(used: list[str], wanted: tuple[str, ...], source: str) -> None:
    """Refuse a session without a requested provider: ONNX Runtime falls back silently."""
    if missing := [name for name in wanted if name not in used]:
        raise BackendError(
            f'{source}: ONNX Runtime could not start {", ".join(missing)} and would run on '
            f'{", ".join(used)}; are the GPU libraries installed, in the versions that '
            'onnxruntime requires? Or remove it from `providers`')


def _settings(options: OrtOptions) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    # A spinning thread burns its core between frames: fp32 CPU time 43 ms a frame, not 11.
    settings.add_session_config_entry(
        'session.intra_op.allow_spinning', '1' if options.spin else '0')
    if CPU_PROVIDER not in options.providers:  # else it runs what the others lack
        settings.add_session_config_entry('session.disable_cpu_ep_fallback', '1')
    settings.log_severity_level = 4  # fatal ones; errors reach us as exceptions
    return settings


def _slow_but_exact(source: str) -> str:
    return (
        f'{source}: is int8 and not marked as free of saturation, and the integer kernels of '
        f'ONNX Runtime {onnxruntime.__version__} saturate on this processor '
        f'({describe_processor()}), so it runs with session.x64quantprecision: correct, but 1.2 '
        'to 1.4 times as long. Quantise it again with this version (`mbv2ssd_train quantize '
        '--target cpu`) and it runs at full speed')


def _open(source: str, settings: onnxruntime.SessionOptions, providers: tuple[str, ...]
          ) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(
            source, settings, providers=list(providers),
            enable_fallback=0)  # it would try the same again, with a print
    except Exception as err:  # ONNX Runtime's exceptions have no common base but this
        raise BackendError(
            f'{source}: ONNX Runtime {onnxruntime.__version__} cannot load it: '
            f'{one_line(err)}') from err
    _check_used_providers(session.get_providers(), providers, source)
    return session


def _check_graph(session: onnxruntime.InferenceSession, contract: ModelContract, source: str
                 ) -> None:
    """Refuse a graph that the contract does not describe."""
    outputs = {output.name: output for output in session.get_outputs()}
    if missing := [name for name in _OUTPUTS if name not in outputs]:
        raise ContractError(f'{source}: lacks the outputs {missing}; has {sorted(outputs)}')
    contract.check_outputs(outputs['boxes'].shape, outputs['scores'].shape, source)
    for name in _OUTPUTS:
        if outputs[name].type != 'tensor(float)':
            raise ContractError(
                f'{source}: output {name!r} is {outputs[name].type}, expected tensor(float)')
    found = [(node.name, node.type, tuple(node.shape[1:])) for node in session.get_inputs()]
    expected = [('images', 'tensor(uint8)', (*contract.input_size_hw, 3))]
    if found != expected:
        raise ContractError(
            f'{source}: inputs (name, type, shape after the batch) are {found}, its contract '
            f'describes {expected}')
    batch = session.get_inputs()[0].shape[0]
    if isinstance(batch, int):
        raise ContractError(
            f'{source}: takes batches of exactly {batch} images, expected a dynamic batch; '
            'export it with `mbv2ssd_train export`')
