"""A node in the test's process that talks to what was launched."""

import os
import time

import pytest

from helpers.needs import need
from helpers.tiny_model import write_tiny_model

TIMEOUT_S = 30.0


@pytest.fixture(scope='session', autouse=True)
def in_the_ament_index():
    """Skip where the launch files do not find this package."""
    packages = need('ament_index_python.packages')
    if not os.environ.get('AMENT_PREFIX_PATH') or (
            'mbv2ssd_ros' not in packages.get_packages_with_prefixes()):
        pytest.skip('needs mbv2ssd_ros in the ament index: build it with colcon')


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
