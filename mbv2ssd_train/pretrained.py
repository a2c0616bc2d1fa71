"""What the backbone begins with: ImageNet weights, or those of a model of ours."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
import onnx
from onnx import numpy_helper
from safetensors.torch import load_file
import torch
from torch import Tensor

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.model.fold import unfold_batch_norm
from mbv2ssd_train.model.mobilenet_v2 import MobileNetV2

_BACKBONE_PREFIX = 'network.backbone.'


def load_backbone(backbone: MobileNetV2, path: str | Path) -> None:
    """
    Load weights into the backbone.

    Args:
        backbone: of the width that the file holds; changed.
        path: torchvision's mobilenet_v2 state dict or another with its key names (.safetensors,
            or saved by torch), or an .onnx file exported by this package.

    Raises:
        DataError: no such file, or its keys or shapes are not those of this backbone.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f'{source}: no such weights; set model.backbone_weights to a torchvision '
                        'mobilenet_v2 state dict, or to null to begin from random weights')
    if source.suffix == '.onnx':
        _load_exported(backbone, source)
    else:
        _load_state_dict(backbone, source)


def _load_exported(backbone: MobileNetV2, source: Path) -> None:
    try:
        initializers = onnx.load(source).graph.initializer
        weights = {item.name.removeprefix(_BACKBONE_PREFIX):
                   torch.from_numpy(numpy_helper.to_array(item).copy())
                   for item in initializers if item.name.startswith(_BACKBONE_PREFIX)}
        unfold_batch_norm(backbone, weights)
    except KeyError as err:
        raise DataError(f'{source}: has no backbone layer {err}; was it exported by '
                        '`mbv2ssd_train export` in float32?') from err
    except RuntimeError as err:
        raise DataError(f'{source}: its layers have other sizes than this backbone; is '
                        f'model.width_mult that of the file? {_first_fault(err)}') from err
    except DecodeError as err:
        raise DataError(f'{source}: not an ONNX file: {err}') from err


def _load_state_dict(backbone: MobileNetV2, source: Path) -> None:
    weights = _read(source)
    features = {key: value.float() if value.is_floating_point() else value
                for key, value in weights.items() if key.startswith('features.')}
    try:
        missing, unexpected = backbone.load_state_dict(features, strict=False)
    except RuntimeError as err:
        raise DataError(f'{source}: its layers have other sizes than this backbone; is '
                        f'model.width_mult that of the file? {_first_fault(err)}') from err
    # files converted from other frameworks have no batch counters
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    if missing or unexpected:
        raise DataError(f'{source}: not the weights of this backbone: lacks {missing[:5]}, has '
                        f'besides {unexpected[:5]}')


def _first_fault(err: RuntimeError) -> str:
    """Take the first of load_state_dict's lines that names a layer; there is one for each."""
    _, *layers = str(err).splitlines()
    return layers[0].strip() if layers else str(err)


def _read(source: Path) -> dict[str, Tensor]:
    try:
        if source.suffix == '.safetensors':
            return load_file(source)
        return dict(torch.load(source, map_location='cpu', weights_only=True))
    except Exception as err:  # the two libraries' errors have no common base
        raise DataError(f'{source}: cannot be read as weights: {err}') from err
