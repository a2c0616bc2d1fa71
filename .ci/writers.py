"""
Write a model with each of our writers, for .ci/versions to load with old and new libraries.

Usage: writers.py MODEL PICTURES FOLDER, with a float32 model and photographs of what it knows.
"""

from pathlib import Path
import sys

import cv2
import numpy
from onnxruntime.quantization import CalibrationDataReader
import torch

from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.image import resize_into, SourceImage
from mbv2ssd_train.config import parse_config
from mbv2ssd_train.deploy.contract import build_contract, build_network
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.export.float16_file import export_float16
from mbv2ssd_train.export.onnx_file import export_onnx
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.quantize.ptq import quantize_onnx, TARGETS

SMALL = '''
name: small
data: {root: nowhere, train: [a], val: b, classes: [bolt, nut]}
model: {input_size_hw: [64, 96], width_mult: 0.35, extra_channels: [64, 32, 32]}
'''


class Calibration(CalibrationDataReader):
    """Network inputs, one after the other."""

    def __init__(self, inputs):
        self._feeds = iter([{'images': image[None]} for image in inputs])

    def get_next(self):
        """Return the next input by name, None at the end."""
        return next(self._feeds, None)


def main(source, pictures, folder):
    """Write made_*.onnx."""
    source, folder = Path(source), Path(folder)
    contract = open_backend('onnxruntime', source, BackendOptions()).contract
    inputs = [network_input(path, contract) for path in sorted(Path(pictures).glob('*.jpg'))]
    export_small(folder / 'made_small.onnx')
    export_float16(source, folder / 'made_float16.onnx', inputs)
    for target in TARGETS:
        quantize_onnx(source, folder / f'made_int8_{target}.onnx', Calibration(inputs), target,
                      'minmax', 'a few pictures, to try the file only')


def network_input(path, contract):
    """Return a picture as the network gets it."""
    image = numpy.empty((*contract.input_size_hw, 3), numpy.uint8)
    resize_into(SourceImage(cv2.imread(str(path)), 'bgr'), contract.resize_mode, image)
    return image


def export_small(path):
    """Export a network that has learnt nothing."""
    torch.manual_seed(0)
    config = parse_config(SMALL, 'small')
    model = DeployModel(build_network(config), config.model)
    export_onnx(TorchBackend(model, build_contract(config, 0.5)), path)


if __name__ == '__main__':
    main(*sys.argv[1:])
