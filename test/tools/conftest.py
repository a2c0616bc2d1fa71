"""A ROS graph for each test that asks for one, with helpers that wait for messages."""

import os
from pathlib import Path
import time
from types import SimpleNamespace

import pytest

from helpers.domains import Domain
from helpers.needs import need
from mbv2ssd_ros.ros.fast_dds import PROFILE_VARIABLES
from mbv2ssd_ros.tools.cli.processes import ending, Program, ros_environment

TIMEOUT_S = 60.0  # only a busy machine comes near it


class Graph:
    """A node in this process and programs beside it, in a domain of their own."""

    def __init__(self, rclpy, folder: Path, programs: list) -> None:
        """Join the domain."""
        self._domain = Domain()
        self.environment = ros_environment(folder, self._domain.number)
        self.domain_id = self._domain.number
        self._folder, self._programs = folder, programs
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=self._domain.number)
        self.node = rclpy.create_node('test', context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def start(self, module: str, *arguments: str) -> Program:
        """Start a module of mbv2ssd_ros.tools with its output in a file."""
        program = Program(
            f'mbv2ssd_ros.tools.{module}', [str(a) for a in arguments], self.environment,
            self._folder / f'{module}_{len(self._programs)}.log')
        self._programs.append(program)
        return program

    def wait_for(self, condition, what: str):
        """Serve this node until the condition holds; return its value."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            logs = '\n'.join(program.tail() for program in self._programs)
            assert time.monotonic() < deadline, f'no {what} within {TIMEOUT_S} s\n{logs}'
            self._executor.spin_once(timeout_sec=0.05)
        return value

    def spin(self, seconds: float) -> None:
        """Serve this node for a moment."""
        self._executor.spin_once(timeout_sec=seconds)

    def run(self, program: Program) -> SimpleNamespace:
        """Serve this node until a program ends; return its exit code and output."""
        self.wait_for(lambda: program.process.poll() is not None, f'end of {program.name}')
        return SimpleNamespace(
            code=program.process.returncode, output=program.log_file.read_text())

    def leave(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        self._domain.release()


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """Join a ROS domain of this test's own; everything that the test started ends with it."""
    rclpy = need('rclpy')
    # no shared memory: a test that is killed leaves nothing in /dev/shm
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    assert not os.environ.keys() & set(PROFILE_VARIABLES.values())
    programs: list = []
    joined = Graph(rclpy, tmp_path / 'logs', programs)
    try:
        with ending(programs):
            yield joined
    finally:
        joined.leave()
