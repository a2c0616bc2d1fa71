"""The self-describing ONNX file, compared with PyTorch before it is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
import dataclasses
import logging
from pathlib import Path
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import numpy_helper
import torch
import yaml

from mbv2ssd_ros.backends.agreement import compare_on, Difference
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_train.data.identity import LEARNT_KEY
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.onnx_files.model_file import (
    check_name,
    save_beside,
    set_contract,
    set_metadata,
)

OPSET = 17  # the newest that TensorRT 8.6 (JetPack 6.0) reads
_IR_VERSION = 8
_EXPORT_OPSET = 18  # the oldest that PyTorch's exporter writes
# newer attributes of Resize, with the values that keep the Resize of opset 17
_NEW_IN_RESIZE = {'antialias': 0, 'keep_aspect_ratio_policy': b'stretch'}
TOLERANCE = 1e-4  # of boxes and scores in float32
_LIMIT = Difference(*[TOLERANCE] * 4)
STAGES = 3
TEST_IMAGES = 5  # that are compared: plain ones, smooth and noisy


class ExportError(Mbv2SsdError):
    """The model cannot be written, or the file does not compute what PyTorch computes."""


def export_onnx(backend: TorchBackend, path: Path,
                advance: Callable[[str], None] = lambda done: None) -> Difference:
    """
    Write a model with its contract as an ONNX file if it agrees with PyTorch.

    `advance` is called after each of STAGES stages, with what was done.

    Raises ExportError where PyTorch cannot export or the file computes something else, ConfigError
    where the path does not end in .onnx.
    """
    check_name(path)
    model = _trace(backend.model, backend.contract)
    advance('traced')
    _lower_opset(model)
    _forget_the_source(model)
    set_contract(model, _without_folders(backend.contract))
    if backend.learnt:
        set_metadata(model, LEARNT_KEY, backend.learnt.to_text())
    onnx.checker.check_model(model, full_check=True)
    partial = save_beside(model, path)
    advance('written')
    try:
        difference = measure_parity(backend, partial)
        advance('compared')
        if not difference.within(_LIMIT):
            raise ExportError(
                f'{path}: differs from PyTorch by {difference.box_max:.2e} in boxes and '
                f'{difference.score_max:.2e} in scores, {TOLERANCE:.0e} is allowed; nothing was '
                f'written. Was the model trained to the end? torch {torch.__version__}')
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def measure_parity(backend: TorchBackend, path: Path) -> Difference:
    """
    Return the largest differences between PyTorch and ONNX Runtime.

    The images are plain, noisy and smooth, singly and in a batch.
    """
    with closing(open_backend('onnxruntime', path, BackendOptions())) as written:
        return compare_on(_test_images(backend.contract.input_size_hw), written.infer,
                          backend.infer, (1, TEST_IMAGES))


def _trace(model: DeployModel, contract: ModelContract) -> onnx.ModelProto:
    # a batch of two: a size of one would be taken for a constant
    example = torch.zeros((2, *contract.input_size_hw, 3), dtype=torch.uint8,
                          device=model.priors.device)
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                model.folded(), (example,), dynamo=True, verbose=False,
                input_names=['images'], output_names=['boxes', 'scores'],
                dynamic_shapes=({0: torch.export.Dim('batch')},), opset_version=_EXPORT_OPSET)
    except Exception as err:  # the exporter's errors have no common base
        raise ExportError(f'torch {torch.__version__} cannot export the model: {err}') from err
    if program is None:
        raise ExportError(f'torch {torch.__version__} exported nothing; it is too old')
    return program.model_proto


def _forget_the_source(model: onnx.ModelProto) -> None:
    """Remove PyTorch's stack traces, which have paths of this machine."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output,
                 *graph.initializer):
        item.ClearField('metadata_props')
        item.ClearField('doc_string')


def _without_folders(contract: ModelContract) -> ModelContract:
    """Reduce absolute paths of this machine to their last name."""
    provenance = contract.provenance
    found = _names_for_paths(yaml.safe_load(provenance.config))
    return dataclasses.replace(contract, provenance=dataclasses.replace(
        provenance, config=yaml.safe_dump(found, sort_keys=False, width=99)))


def _names_for_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _names_for_paths(item) for key, item in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _lower_opset(model: onnx.ModelProto) -> None:
    """Declare the older opset if every operator is the same in both."""
    _pool_globally(model)
    for node in model.graph.node:
        if node.op_type == 'Resize' and _resize_as_before(node):
            continue
        old = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
        new = onnx.defs.get_schema(node.op_type, _EXPORT_OPSET, node.domain)
        if old.since_version != new.since_version:
            raise ExportError(
                f'operator {node.op_type} of node {node.name!r} changed between opset {OPSET} and '
                f'{_EXPORT_OPSET}; the file would not load in TensorRT 8.6')
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid('', OPSET))
    model.ir_version = _IR_VERSION


def _resize_as_before(node: onnx.NodeProto) -> bool:
    """Remove attributes that opset 17 implies; False where another one is new."""
    kept = [item for item in node.attribute
            if item.name not in _NEW_IN_RESIZE
            or onnx.helper.get_attribute_value(item) != _NEW_IN_RESIZE[item.name]]
    if any(item.name in (*_NEW_IN_RESIZE, 'axes') for item in kept):
        return False
    del node.attribute[:]
    node.attribute.extend(kept)
    return True


def _pool_globally(model: onnx.ModelProto) -> None:
    """Use GlobalAveragePool for the mean of a map: ReduceMean's axes moved in opset 18."""
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        axes = constants.get(node.input[1]) if len(node.input) == 2 else None
        if node.op_type != 'ReduceMean' or axes is None:
            continue
        keeps = {item.name: item.i for item in node.attribute}.get('keepdims', 1)
        if keeps and sorted(numpy_helper.to_array(axes).tolist()) == [2, 3]:  # of (B, C, H, W)
            node.op_type = 'GlobalAveragePool'
            del node.input[1:], node.attribute[:]
    used = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _test_images(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    rng, (height, width) = np.random.default_rng(0), size_hw
    ramp = np.linspace(0, 255, height)[:, None] * np.linspace(0, 1, width)[None, :]
    smooth = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1).astype(np.uint8)
    noise = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return np.stack([np.zeros_like(smooth), np.full_like(smooth, 255), smooth, *noise])
