"""Play a bag through the live detector and report what became of its images, by camera."""

from importlib.util import find_spec
from pathlib import Path

from launch.actions import ExecuteProcess, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch_ros.actions import Node

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.launching import description, detector, DETECTOR_ARGUMENTS
from mbv2ssd_ros.tools.evaluate_live import READY
from mbv2ssd_ros.tools.live.cameras import cameras_of, node_parameters

# share/mbv2ssd_ros where it is installed, else the source tree
SHARE = Path(__file__).resolve().parents[1]
ARGUMENTS = {
    'bag': ('', 'Folder of a rosbag2, a .mcap, .db3 or .bag file. Required.'),
    'topics': ('', 'Image topics of the bag, as in /front/image_raw,/rear/image_raw; empty: all.'),
    'rate': ('1.0', 'Playback rate: 2.0 is twice as fast; `answered`: each image after the answer '
                    'to the previous one (play_bag only).'),
    'player': ('auto', 'ros2 (`ros2 bag play`) or play_bag; auto takes ros2 if it is installed '
                       'and supports the other arguments.'),
    'output': ('live.json', 'JSON file for all figures.'),
    'params_file': (str(SHARE / 'config' / 'detector.yaml'),
                    'Parameter file of the node; its cameras are replaced by those of the bag.'),
    **DETECTOR_ARGUMENTS,
}
DISCOVERY_S = '2'  # `ros2 bag play` does not wait for subscribers


def generate_launch_description():
    """
    Describe the launch.

    Returns:
        The arguments, the detector, a player and an observer.
    """
    return description(ARGUMENTS, _start)


def _start(values):
    if not values['bag']:
        raise ConfigError('evaluate.launch.py: bag is empty; give bag:=PATH')
    bag = Path(values['bag']).expanduser()
    cameras = cameras_of(bag, [name.strip() for name in values['topics'].split(',') if name])
    topics = [camera.image_topic for camera in cameras]
    parameters = node_parameters(cameras)
    namespace = f'/{values["namespace"].strip("/")}'.rstrip('/')
    answers = [f'{namespace}/{camera.name}/detections' for camera in cameras]
    for camera, topic in zip(cameras, answers, strict=True):
        parameters[f'{camera.name}.detections_topic'] = topic
    with_ros2 = _takes_ros2(values, bag)
    observer = Node(
        package='mbv2ssd_ros', executable='evaluate_live', output='screen',
        arguments=[str(bag), '--attach', '--node', f'{namespace}/detector', '--json',
                   values['output'], '--stamps', 'recorded' if with_ros2 else 'now',
                   *_each('--topic', topics)])
    if with_ros2:
        player = ExecuteProcess(
            cmd=['ros2', 'bag', 'play', str(bag), '--rate', values['rate'], '--delay', DISCOVERY_S,
                 '--topics', *topics], output='screen')
    else:
        pace = (_each('--answered-by', answers) if values['rate'] == 'answered'
                else ['--rate', values['rate']])
        player = Node(
            package='mbv2ssd_ros', executable='play_bag', output='screen',
            arguments=[str(bag), '--stamps', 'now', *_each('--topic', topics), *pace])
    play = RegisterEventHandler(OnProcessIO(
        target_action=observer, on_stdout=_once(READY, player)))
    end = RegisterEventHandler(OnProcessExit(
        target_action=observer, on_exit=[Shutdown(reason='the evaluation has ended')]))
    # The handlers first: they must exist when the observer prints and ends.
    return [play, end, *detector(values, parameters), observer]


def _takes_ros2(values, bag):
    """Return whether `ros2 bag play` plays; ConfigError if it is required and cannot."""
    if values['player'] not in ('auto', 'ros2', 'play_bag'):
        raise ConfigError(f'evaluate.launch.py: player is {values["player"]!r}, expected auto, '
                          'ros2 or play_bag')
    problem = ''
    if values['rate'] == 'answered':
        problem = 'does not wait for answers'
    elif bag.suffix == '.bag':
        problem = 'does not read ROS 1 bags'
    elif find_spec('ros2bag') is None:
        problem = 'is not installed (ros-$ROS_DISTRO-rosbag2)'
    if problem and values['player'] == 'ros2':
        raise ConfigError(f'evaluate.launch.py: player is ros2, but `ros2 bag play` {problem}')
    return values['player'] != 'play_bag' and not problem


def _once(word, player):
    """Return a handler that starts the player when the observer has printed a word."""
    started = []

    def on_stdout(event):
        if started or word not in event.text.decode(errors='replace'):
            return None
        started.append(True)
        return [player]
    return on_stdout


def _each(option, values):
    return [part for value in values for part in (option, value)]
