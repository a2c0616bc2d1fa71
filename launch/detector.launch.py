"""Start the detector for one camera, configured and activated."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

# share/mbv2ssd_ros where it is installed, else the source tree
PARAMS_FILE = Path(__file__).resolve().parents[1] / 'config' / 'detector.yaml'

ARGUMENTS = (
    ('params_file', str(PARAMS_FILE), 'Parameter file of the node.'),
    ('model_path', '', 'ONNX file with the model; empty: what the parameter file says.'),
    ('namespace', '', 'Namespace of the node and of all topics with relative names.'),
    ('image_topic', '', 'Topic of the images of the camera `camera`; empty: what the parameter '
                        'file says.'),
    ('autostart', 'true', 'Configure and activate the node; false leaves that to a lifecycle '
                          'manager.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
)


def generate_launch_description():
    """
    Describe the launch.

    Returns:
        The arguments and the node.
    """
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, default, description in ARGUMENTS),
        OpaqueFunction(function=_start),
    ])


def _start(context):
    values = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    # The node's own autostart would race with the events below.
    overrides = {'autostart': False}
    if values['model_path']:
        overrides['model_path'] = values['model_path']
    if values['image_topic']:
        overrides['camera.image_topic'] = values['image_topic']
    node = LifecycleNode(
        package='mbv2ssd_ros', executable='detector_node', name='detector',
        namespace=values['namespace'], output='screen',
        parameters=[values['params_file'], overrides],
        arguments=['--ros-args', '--log-level', values['log_level']])
    if values['autostart'].lower() not in ('true', '1'):
        return [node]
    activate = RegisterEventHandler(OnStateTransition(
        target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
        entities=[_change_state(node, Transition.TRANSITION_ACTIVATE)]))
    # The handlers first: they must be there when the node answers.
    return [activate, node, _change_state(node, Transition.TRANSITION_CONFIGURE)]


def _change_state(node, transition_id):
    return EmitEvent(event=ChangeState(
        lifecycle_node_matcher=matches_action(node), transition_id=transition_id))
