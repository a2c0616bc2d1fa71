"""What every backend must do, on the real TensorRT: the same tests as everywhere."""

import pytest
from test_conformance import *  # noqa: F403


@pytest.fixture
def engine(nvidia):
    """Take the place of the doubles."""
    return 'tensorrt'
