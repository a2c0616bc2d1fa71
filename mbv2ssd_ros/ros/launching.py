"""Shared by the launch files: start the detector, configure and activate it by events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.parameters import TRANSPORTS

# name: (default, description), as `ros2 launch -s` shows them
Arguments = Mapping[str, tuple[str, str]]
DETECTOR_ARGUMENTS: Arguments = {
    'model_path': ('', 'ONNX file, or the name of a shipped model; empty: that of the parameter '
                       'file.'),
    'namespace': ('', 'Namespace of the node and of all topics with relative names.'),
    'autostart': ('true', 'Configure and activate the node; false leaves that to a lifecycle '
                          'manager.'),
    'log_level': ('info', 'Of the detector.'),
}
_CHOICES = {
    'autostart': ['true', 'false', 'True', 'False'],
    'log_level': ['debug', 'info', 'warn', 'error', 'fatal'],
    'transport': list(TRANSPORTS),
}


def description(arguments: Arguments, start: Callable[[dict[str, str]], list[Any]]
                ) -> LaunchDescription:
    """Build what generate_launch_description returns; start maps argument values to actions."""
    def perform(context: Any) -> list[Any]:
        return start({name: LaunchConfiguration(name).perform(context) for name in arguments})
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text,
                                choices=_CHOICES.get(name))
          for name, (default, text) in arguments.items()),
        OpaqueFunction(function=perform)])


def detector(values: Mapping[str, str], overrides: Mapping[str, Any]) -> list[Any]:
    """
    Return the actions that start the detector; overrides win over the parameter file.

    ConfigError where values['params_file'] does not exist: the node would start without it.
    """
    if not Path(values['params_file']).is_file():
        raise ConfigError(f'params_file is {values["params_file"]!r}, which is not a file')
    # The node's own autostart would race with the events below.
    parameters = {'autostart': False, **overrides}
    if values['model_path']:
        parameters['model_path'] = values['model_path']
    node = LifecycleNode(
        package='mbv2ssd_ros', executable='detector_node', name='detector',
        namespace=values['namespace'], output='screen',
        parameters=[values['params_file'], parameters],
        arguments=['--ros-args', '--log-level', values['log_level']])
    if values['autostart'].lower() == 'false':
        return [node]
    activate = RegisterEventHandler(OnStateTransition(
        target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
        entities=[_change_state(node, Transition.TRANSITION_ACTIVATE)],
        handle_once=True))  # not when it is configured again later
    # The handler first: it must exist when the node answers.
    return [activate, node, _change_state(node, Transition.TRANSITION_CONFIGURE)]


def _change_state(node: LifecycleNode, transition_id: int) -> EmitEvent:
    return EmitEvent(event=ChangeState(
        lifecycle_node_matcher=matches_action(node), transition_id=transition_id))
