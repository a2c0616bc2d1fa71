"""ONNX files with a contract: read for conversion, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from mbv2ssd_ros.backends.base import Backend, read_model
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract
from mbv2ssd_ros.core.errors import ConfigError, ContractError
from mbv2ssd_ros.core.output_summary import Difference
from mbv2ssd_train.onnx_files.self_test import with_self_test
from mbv2ssd_train.onnx_files.storage import restore_float32


def read_float32(source: Path, what: str) -> tuple[onnx.ModelProto, ModelContract]:
    """
    Read a float32 model with a contract, else ContractError; `what` is the verb for it.

    Weights that the file stores in float16 are float32 in the model.
    """
    try:
        model = onnx.load(source)
    except OSError:
        raise
    except Exception as err:  # protobuf's errors have no common base
        raise ContractError(f'{source}: cannot be read as ONNX: {err}') from err
    metadata = {item.key: item.value for item in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise ContractError(f'{source}: no {METADATA_KEY!r} in its metadata; {what} a file that '
                            '`mbv2ssd_train export` wrote')
    contract = ModelContract.from_json(metadata[METADATA_KEY], str(source))
    if contract.precision != 'fp32':
        raise ContractError(f'{source}: is {contract.precision}; {what} the fp32 file')
    restore_float32(model)
    return model, contract


def set_contract(model: onnx.ModelProto, contract: ModelContract) -> None:
    """Replace the contract of a model, in place; other metadata stay."""
    set_metadata(model, METADATA_KEY, contract.to_json())


def set_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    """Set a metadata entry of a model, in place; others stay."""
    kept = {item.key: item.value for item in model.metadata_props}
    helper.set_model_props(model, {**kept, key: value})


def declare_used_opsets(model: onnx.ModelProto) -> None:
    """Remove operator sets without nodes, in place: a runtime may lack one and refuse."""
    used = {_domain(node.domain) for node in model.graph.node}
    kept = [item for item in model.opset_import if _domain(item.domain) in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _domain(name: str) -> str:
    return '' if name == 'ai.onnx' else name


def save_beside(model: onnx.ModelProto, path: Path) -> Path:
    """
    Write a model with its self-test next to its destination; return the temporary path.

    `replace(path)` moves it into place. Raises ConfigError for a name without .onnx, ContractError
    for a refused model, BackendError where the self-test fails; then nothing is written.
    """
    return _write_beside(with_self_test(model.SerializeToString(), str(path)), path)[0]


def renew_self_test(path: Path) -> tuple[ModelContract, Difference]:
    """
    Add or replace a file's self-test; the graph's bytes stay. Raises as save_beside.

    An error leaves the file as before. Returns the differences from the reference outputs, too.
    """
    partial, backend = _write_beside(with_self_test(read_model(path), str(path)), path)
    partial.replace(path)
    assert backend.self_test is not None
    return backend.contract, backend.self_test


def _write_beside(content: bytes, path: Path) -> tuple[Path, Backend]:
    """Write a file and run its self-test; returns its path and the opened model."""
    check_name(path)
    partial = path.with_name(f'{path.name}.partial')
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(content)
    try:
        backend = open_backend('onnxruntime', partial, BackendOptions())
    except BaseException:
        partial.unlink()
        raise
    backend.close()
    return partial, backend


def check_name(path: Path) -> None:
    """Raise ConfigError where a model file's name does not end in .onnx."""
    if path.suffix != '.onnx':
        raise ConfigError(f'{path}: the name of a model file ends in .onnx')
