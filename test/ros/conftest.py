"""The real node in a process of its own, over real DDS."""

import itertools
import os

import pytest

from helpers.detector_rig import Detector, Peer
from helpers.domains import Domain
from helpers.needs import need
from helpers.tiny_model import write_tiny_model

_namespaces = itertools.count(1)


@pytest.fixture(scope='session')
def peer():
    """Join the ROS domain of this test run."""
    need('rclpy')
    need('vision_msgs')
    from mbv2ssd_ros.ros.shared_memory import remove_unused
    joined = Peer()
    yield joined
    joined.close()
    remove_unused()  # its own ports stay where tests have killed others that had used them


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory):
    """Return the path of the tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture(scope='module')
def apart():
    """
    Make the environment of programs with shared memory in a domain that no other test uses.

    Participants map each other's segments, and one that does keeps those of the other.
    """
    domain = Domain()
    yield {'ROS_DOMAIN_ID': str(domain.number), 'FASTDDS_BUILTIN_TRANSPORTS': 'DEFAULT'}
    domain.release()


@pytest.fixture(scope='module')
def start_detector(peer, tiny_model, tmp_path_factory):
    """Return a function that starts a detector node; all end with the module."""
    from mbv2ssd_ros.tools.cli.processes import ending, Program
    programs = []

    def start(*ros_args, model=tiny_model, environment=None, **parameters):
        namespace = f'/t{next(_namespaces)}'
        parameters = {'model_path': model, 'camera__qos_reliability': 'reliable', **parameters}
        settings = [f'{name.replace("__", ".")}:={value}' for name, value in parameters.items()
                    if value is not None]
        arguments = ['--ros-args', *ros_args, '-r', f'__ns:={namespace}',
                     *itertools.chain.from_iterable(('-p', setting) for setting in settings)]
        program = Program('mbv2ssd_ros.ros.node', arguments, {**os.environ, **(environment or {})},
                          tmp_path_factory.mktemp('detector') / 'node.log')
        programs.append(program)
        return Detector(peer, program, namespace)

    with ending(programs):
        yield start
