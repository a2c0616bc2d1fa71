"""Play images as a camera, detect objects in them, print and draw the detections."""

from pathlib import Path

from launch.actions import RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node

from mbv2ssd_ros.ros.launching import description, detector, DETECTOR_ARGUMENTS

# share/mbv2ssd_ros where it is installed, else the source tree
SHARE = Path(__file__).resolve().parents[1]
ARGUMENTS = {
    'images': (str(SHARE / 'config' / 'demo' / 'images'),
               'Image folder, image or video file, played in a loop.'),
    'rate': ('5', 'Images per second.'),
    'frames': ('', 'End after this number of frames; empty: run until Ctrl-C.'),
    'output': ('demo_out', 'Folder for the annotated images.'),
    **DETECTOR_ARGUMENTS,
}
# as in config/detector.yaml
IMAGE_TOPIC, DETECTIONS_TOPIC = 'camera/image_raw', 'camera/detections'
START_TIMEOUT_S = '60'  # a small computer loads three Python programs slowly


def generate_launch_description():
    """
    Describe the launch.

    Returns:
        The arguments, the camera, the detector and the viewer.
    """
    return description(ARGUMENTS, _start)


def _start(values):
    # Two subscribers, the detector and the viewer: playing starts when both are there.
    camera = _program('play_images', values['namespace'], values['images'], '--topic', IMAGE_TOPIC,
                      '--rate', values['rate'], '--loop', '--subscribers', '2')
    viewer = _program('view_detections', values['namespace'], '--image-topic', IMAGE_TOPIC,
                      '--detections-topic', DETECTIONS_TOPIC, '--output', values['output'],
                      '--timeout', START_TIMEOUT_S,
                      *(['--frames', values['frames']] if values['frames'] else []))
    end = RegisterEventHandler(OnProcessExit(
        target_action=lambda action: action in (camera, viewer), handle_once=True,
        on_exit=[Shutdown(reason='the viewer or the camera has ended')]))
    params_file = str(SHARE / 'config' / 'detector.yaml')
    # The handler first: it must exist when one of them ends.
    return [end, camera, *detector({**values, 'params_file': params_file}, {}), viewer]


def _program(executable, namespace, *arguments):
    return Node(package='mbv2ssd_ros', executable=executable, namespace=namespace,
                output='screen', arguments=arguments)
