"""The INT8 file of a network trained with quantisation."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
import tempfile

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import numpy_helper

from mbv2ssd_ros.backends.agreement import compare, Difference, fixed_images
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.export.onnx_file import export_onnx, ExportError
from mbv2ssd_train.model.fake_quantise import quantisers, remove_quantisers
from mbv2ssd_train.onnx_files.graph import GraphIndex
from mbv2ssd_train.onnx_files.model_file import check_name, save_beside
from mbv2ssd_train.onnx_files.ranges import scale_constants
from mbv2ssd_train.onnx_files.self_test import infer_as_written
from mbv2ssd_train.quantize.ptq import quantize_onnx

NOTE = 'INT8 for tensorrt: learnt with quantisation'


# A value on the border of two steps falls to either side in another order of additions, and what
# follows goes with it: PyTorch with and without its fast convolutions differs as much as PyTorch
# and the file. Means on photographs with the shipped model: boxes 3e-4, scores 2e-5; SSD300 with
# random weights and two classes: 4e-4 and 5e-3.
LIMIT = Difference(box_max=0.2, box_mean=2e-3, score_max=0.3, score_mean=1e-2)


def export_learnt(backend: TorchBackend, path: Path) -> Difference:
    """
    Write the INT8 file of a network of simulate_integers if it agrees with PyTorch.

    The float network is exported and quantised as after training, so that the graph is the same;
    then the learnt ranges replace the calibrated ones. Raises ExportError where the file computes
    something else, ConfigError where the path does not end in .onnx.
    """
    check_name(path)
    plain = copy.deepcopy(backend.model)
    plain.network = remove_quantisers(backend.model.network)
    ranges = {name: float(part.scale) for name, part in quantisers(backend.model.network).items()}
    contract = dataclasses.replace(backend.contract, precision='fp32')
    with tempfile.TemporaryDirectory() as folder:
        floats, integers = Path(folder) / 'float.onnx', Path(folder) / 'int8.onnx'
        export_onnx(TorchBackend(plain, contract, backend.learnt), floats)
        quantize_onnx(floats, integers, _AnyImage(contract.input_size_hw), 'tensorrt', 'minmax',
                      NOTE)
        model = onnx.load(integers)
    _set_ranges(model, ranges)
    difference = compare(infer_as_written(model.SerializeToString()), backend.infer, (1,),
                         contract.input_size_hw)
    if not difference.within(LIMIT):
        raise ExportError(f'{path}: computes something else than PyTorch: {difference} (allowed: '
                          f'{LIMIT}); nothing was written')
    save_beside(model, path).replace(path)
    return difference


def _set_ranges(model: onnx.ModelProto, ranges: dict[str, float]) -> None:
    places = scale_constants(GraphIndex(model.graph))
    assert places.keys() == ranges.keys()
    constants = {item.name: item for item in model.graph.initializer}
    for layer, scale in places.items():
        constants[scale].CopyFrom(
            numpy_helper.from_array(np.array(ranges[layer], np.float32), scale))


class _AnyImage:
    """One image for a calibration whose result is replaced."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self._left: list[NDArray[np.uint8]] = [fixed_images(1, size_hw)]

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the image, then None."""
        return {'images': self._left.pop()} if self._left else None
