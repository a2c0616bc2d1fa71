"""Copies of a model file in float16, compared with the original before they are written."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnx

from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.export.agreement import Agreement, LIMITS, measure_agreement, shortfalls
from mbv2ssd_train.export.half import check_activations, Float16Error, to_float16
from mbv2ssd_train.onnx_files.model_file import check_name, read_float32, save_beside, set_contract
from mbv2ssd_train.onnx_files.storage import store_in_float16


def export_float16(source: Path, output: Path, images: Sequence[NDArray[np.uint8]]) -> Agreement:
    """
    Write a float16 copy of a file of `mbv2ssd_train export` if both detect the same.

    The images are (H, W, 3) uint8 RGB of the model's input size; photographs like those of the
    robot test best. Raises ConfigError where the output does not end in .onnx or is the source,
    ContractError where the source is not a float32 file of ours, Float16Error where a weight or a
    feature map is too large for float16 or the copy detects something else.
    """
    check_name(output)
    model, contract = read_float32(source, 'convert')
    check_activations(model, images, str(source))
    copy = to_float16(model, str(source))
    set_contract(copy, dataclasses.replace(contract, precision='fp16'))
    return _write_if_equal(copy, source, output, images)


def store_weights_in_float16(
        source: Path, output: Path, images: Sequence[NDArray[np.uint8]]) -> Agreement:
    """Write a float32 copy of half the size; images and errors are those of export_float16."""
    check_name(output)
    copy, _ = read_float32(source, 'convert')
    store_in_float16(copy, str(source))
    return _write_if_equal(copy, source, output, images)


def _write_if_equal(copy: onnx.ModelProto, source: Path, output: Path,
                    images: Sequence[NDArray[np.uint8]]) -> Agreement:
    if output.resolve() == source.resolve():
        raise ConfigError(f'{output}: would overwrite the model; choose another '
                          '--output')
    onnx.checker.check_model(copy, full_check=True)
    partial = save_beside(copy, output)
    try:
        first, second = (open_backend('onnxruntime', path, BackendOptions())
                         for path in (source, partial))
        agreement = measure_agreement(first, second, images)
        if faults := shortfalls(agreement, LIMITS['fp16']):
            raise Float16Error(f'{output}: detects something else than {source}: '
                               f'{"; ".join(faults)}; nothing was written')
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return agreement
