"""Weights in files: state dicts of PyTorch, and the graphs that this package exports."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
from pathlib import Path
import pickle
from typing import Any

from google.protobuf.message import DecodeError
import onnx
from onnx import numpy_helper
from safetensors.torch import load_file, save
import torch
from torch import Tensor

from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.shipped import find_model, SHIPPED_FOLDER
from mbv2ssd_train.onnx_files.storage import restore_float32

_BACKBONE = 'backbone.'
_NETWORK = 'network.'  # the exporter's prefix of the network's weights


def find_weights(path: str | Path) -> Path:
    """Return a path; a name such as models/NAME.onnx may be of a model of the package."""
    source = Path(path).expanduser()
    if source.exists() or source.suffix != '.onnx' or source.parent not in (
            Path(), Path(SHIPPED_FOLDER)):
        return source
    try:
        return find_model(source.name)
    except ConfigError:  # the caller says what it looked for
        return source


def short_hash(path: Path) -> str:
    """Return twelve digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def read_state_dict(source: Path) -> dict[str, Tensor]:
    """
    Read tensors by name, on the CPU; executes no code from the file.

    .safetensors, or saved by torch: the state dict, or a training checkpoint with it under
    'model', as torchvision's reference training writes. DataError: the file has other content.
    """
    try:
        if source.suffix == '.safetensors':
            return load_file(source)
        found: Any = torch.load(source, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as err:  # its message advises running the file's code
        raise DataError(f'{source}: cannot be read as weights: not written by torch.save, or with '
                        'more in it than tensors by name; save a state_dict') from err
    except Exception as err:  # the two libraries' errors have no common base
        raise DataError(f'{source}: cannot be read as weights: {err}') from err
    if isinstance(found, Mapping) and isinstance(found.get('model'), Mapping):
        found = found['model']
    if not isinstance(found, Mapping) or not found or not all(
            isinstance(value, Tensor) for value in found.values()):
        raise DataError(f'{source}: cannot be read as weights: expected tensors by name, found '
                        f'{type(found).__name__}')
    return dict(found)


def read_exported(source: Path) -> tuple[dict[str, Tensor], ModelContract | None]:
    """
    Read the weights of a graph that `mbv2ssd_train export` wrote.

    Returns:
        Tensors by their name in the network, BatchNorm folded; the contract, or None.

    Raises:
        DataError: not an ONNX file.
        ContractError: the metadata cannot be read.
    """
    try:
        model = onnx.load(source)
    except DecodeError as err:
        raise DataError(f'{source}: not an ONNX file: {err}') from err
    restore_float32(model)
    tensors = {item.name: item for item in model.graph.initializer}
    weights = {name: _tensor(item) for name, item in tensors.items()}
    for node in model.graph.node:
        if node.op_type != 'Conv' or node.input[1] not in tensors:
            continue
        bias = f'{node.input[1].removesuffix(".weight")}.bias'
        if len(node.input) < 3:  # the exporter leaves out a bias of zeros
            weights[bias] = torch.zeros(tensors[node.input[1]].dims[0])
        elif node.input[2] in tensors:  # and merges equal ones under one name
            weights[bias] = _tensor(tensors[node.input[2]])
    weights = {name.removeprefix(_NETWORK): value for name, value in weights.items()
               if name.startswith(_NETWORK)}
    metadata = {item.key: item.value for item in model.metadata_props}
    text = metadata.get(METADATA_KEY)
    return weights, None if text is None else ModelContract.from_json(text, str(source))


def read_exported_float32(source: Path, use: str) -> tuple[dict[str, Tensor], ModelContract]:
    """Read as read_exported does; DataError unless the file is float32 with a contract."""
    weights, contract = read_exported(source)
    if contract is None or contract.precision != 'fp32':
        found = 'no contract' if contract is None else f'precision {contract.precision}'
        raise DataError(f'{source}: has {found}; {use}')
    return weights, contract


def _tensor(item: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(item).copy())


def write_backbone(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write the backbone of a whole network as safetensors, for model.backbone_weights."""
    features = {name.removeprefix(_BACKBONE): value.contiguous()
                for name, value in weights.items() if name.startswith(f'{_BACKBONE}features.')}
    path.write_bytes(save(features))  # save_file makes a file that other users cannot read
