"""Write the self-test of a model file; see mbv2ssd_ros.core.self_test."""

from __future__ import annotations

from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray
import onnxruntime

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import ContractError, one_line
from mbv2ssd_ros.core.onnx_metadata import read_metadata, with_metadata
from mbv2ssd_ros.core.output_summary import Infer, Outputs
from mbv2ssd_ros.core.self_test import SELF_TEST_KEY, SelfTest

# Of config/demo/images, reduced to 112 pixels and 16 levels of each colour: one is high, one is
# wide, so that a wrong resize shows.
PICTURES = ('astronaut.png', 'car.png')


def with_self_test(model: bytes, source: str) -> bytes:
    """Return a model file's content with a new self-test; ContractError if unusable."""
    contract = ModelContract.from_metadata(read_metadata(model, source), source)
    try:
        reference = infer_as_written(model)
    except Exception as err:  # ONNX Runtime's exceptions have no common base but this
        raise ContractError(f'{source}: ONNX Runtime {onnxruntime.__version__} cannot load it: '
                            f'{one_line(err)}') from err
    self_test = SelfTest.of([_picture(name) for name in PICTURES], reference, contract)
    return with_metadata(model, SELF_TEST_KEY, self_test.to_json(), source)


def infer_as_written(model: bytes) -> Infer:
    """Return a function that runs each node separately: Q/DQ in float, no fused rounding."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def infer(images: NDArray[np.uint8]) -> Outputs:
        boxes, scores = session.run(['boxes', 'scores'], {'images': images})
        return boxes, scores
    return infer


def _picture(name: str) -> NDArray[np.uint8]:
    content = resources.files(__package__).joinpath(f'pictures/{name}').read_bytes()
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.uint8)
