"""What is checked and logged at the start: arguments, parameter files, what the node will do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from rclpy.node import Node

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.parameter_file import is_for_node, no_section, read_sections
from mbv2ssd_ros.ros.parameters import DetectorParams


def check_arguments(args: Sequence[str]) -> None:
    """Raise ConfigError for arguments that ROS would ignore, with the right spelling."""
    stray = list(_outside_of_ros(args))
    if not stray:
        return
    right = [word if ':=' not in word or before in ('-p', '--param', '-r', '--remap')
             else f'-p {word}' for before, word in pairwise(['', *stray])]
    raise ConfigError(
        f'unknown arguments: {" ".join(stray)}. All arguments are those of ROS and follow '
        f'--ros-args, as in: --ros-args {" ".join(right)}')


def _outside_of_ros(args: Sequence[str]) -> Iterator[str]:
    inside = False
    for word in args:
        if word == '--ros-args':
            inside = True
        elif inside:
            inside = word != '--'
        else:
            name, sign, _ = word.partition(':=')
            # ROS still takes a name:=value as a remapping, also where a parameter is meant
            if not (sign and ('/' in name or name.startswith('__'))):
                yield word


def unused_files(args: Sequence[str], node: Node) -> Iterator[str]:
    """Describe each parameter file on the command line that has no section for the node."""
    name = node.get_fully_qualified_name()
    for flag, value in pairwise(args):
        if flag == '--params-file':
            try:
                sections = read_sections(Path(value))
            except ConfigError as err:  # rcl has read it, with another parser
                yield str(err)
                continue
            if not any(is_for_node(section, name) for section in sections):
                yield (f'{no_section(Path(value), sections, name)}. None of its values is used: '
                       f'name the section {name} or /**')


def intention(node: Node, params: DetectorParams) -> str:
    """Describe model and cameras of a node."""
    model = params.model_path or 'the default one'
    cameras = ', '.join(
        f'{camera.name} on {node.resolve_topic_name(camera.image_topic)} ({camera.transport})'
        for camera in params.cameras)
    return f'model: {model}; cameras: {cameras}'
