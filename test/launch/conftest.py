"""A node in the test's process that talks to what was launched."""

import time

import pytest
from tiny_model import write_tiny_model

TIMEOUT_S = 30.0


@pytest.fixture
def tiny_model(tmp_path):
    """Return the path of the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx')


@pytest.fixture
def peer():
    """Join the graph; the node has wait_for(condition, what)."""
    import rclpy
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('peer', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def wait_for(condition, what):
        deadline = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            assert time.monotonic() < deadline, f'no {what}'
            executor.spin_once(timeout_sec=0.05)
        return value
    node.wait_for = wait_for
    yield node
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
