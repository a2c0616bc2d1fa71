"""ONNX files with a contract: read to be made into another precision, written whole or not."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from mbv2ssd_ros.backends.base import Backend, BackendOptions, read_model
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.core.answer import Difference
from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract
from mbv2ssd_ros.core.errors import ConfigError, ContractError
from mbv2ssd_train.onnx_files.self_test import with_self_test


def read_float32(source: Path, what: str) -> tuple[onnx.ModelProto, ModelContract]:
    """
    Read a float32 model.

    Args:
        source: of an .onnx file that `mbv2ssd_train export` wrote.
        what: is to be done with it, for messages: 'quantise'.

    Returns:
        Graph and contract.

    Raises:
        ContractError: not an ONNX file, without contract, or of another precision.
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
    return model, contract


def set_contract(model: onnx.ModelProto, contract: ModelContract) -> None:
    """
    Put a contract into a model in place of the one it has.

    Args:
        model: changed; its other metadata stay.
        contract: of the model as it is now.
    """
    set_metadata(model, METADATA_KEY, contract.to_json())


def set_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    """
    Put an entry into the metadata of a model, in place of the one of that key.

    Args:
        model: changed; its other metadata stay.
        key: of the entry.
        value: of the entry.
    """
    kept = {item.key: item.value for item in model.metadata_props}
    helper.set_model_props(model, {**kept, key: value})


def declare_used_opsets(model: onnx.ModelProto) -> None:
    """
    Declare no operator set that no node is of: a runtime that lacks one refuses the file.

    ONNX Runtime's quantiser declares all that its own version knows.

    Args:
        model: changed.
    """
    used = {_domain(node.domain) for node in model.graph.node}
    kept = [item for item in model.opset_import if _domain(item.domain) in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _domain(name: str) -> str:
    return '' if name == 'ai.onnx' else name


def save_beside(model: onnx.ModelProto, path: Path) -> Path:
    """
    Write a model with a self-test beside the place it is meant for, to be looked at first.

    Args:
        model: to write, with a contract.
        path: that it is meant for; its folder is created where missing.

    Returns:
        Where it is; `replace(path)` puts it in place.

    Raises:
        ConfigError: the path does not end in .onnx.
        ContractError: the model has no contract, or ONNX Runtime refuses it.
        BackendError: the file fails its self-test here; nothing was written.
    """
    return _write_beside(with_self_test(model.SerializeToString(), str(path)), path)[0]


def renew_self_test(path: Path) -> tuple[ModelContract, Difference]:
    """
    Give a model file a self-test, or a new one in place of the one it has.

    Args:
        path: of an .onnx file with a contract; the bytes of its graph stay.

    Returns:
        Its contract, and how far its answers are here from the right ones.

    Raises:
        ConfigError: the path does not end in .onnx.
        BackendError: no such file, or it fails the new self-test here and stays as it was.
        ContractError: no ONNX file, without contract, or ONNX Runtime refuses it.
    """
    partial, backend = _write_beside(with_self_test(read_model(path), str(path)), path)
    partial.replace(path)
    assert backend.self_test is not None
    return backend.contract, backend.self_test


def _write_beside(content: bytes, path: Path) -> tuple[Path, Backend]:
    """Write a file that proves itself; returns where it is, and how it was opened."""
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
    """
    Refuse a name that no verb would open.

    Args:
        path: of a model file to be written.

    Raises:
        ConfigError: it does not end in .onnx.
    """
    if path.suffix != '.onnx':
        raise ConfigError(f'{path}: the name of a model file ends in .onnx')
