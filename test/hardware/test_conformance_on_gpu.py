"""What every backend must do, on the real TensorRT: the same tests as everywhere."""

import pytest

for library in ('numpy', 'cv2', 'onnx', 'onnxruntime'):
    pytest.importorskip(library)
from test_conformance import *  # noqa: E402,F403


@pytest.fixture
def engine(nvidia):
    """Take the place of the doubles."""
    return 'tensorrt'
