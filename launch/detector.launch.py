"""Start the detector for one camera, configured and activated."""

from pathlib import Path

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.launching import description, detector, DETECTOR_ARGUMENTS

# share/mbv2ssd_ros where it is installed, else the source tree
SHARE = Path(__file__).resolve().parents[1]
ARGUMENTS = {
    'params_file': (str(SHARE / 'config' / 'detector.yaml'), 'Parameter file of the node.'),
    'image_topic': ('', 'Topic of the images of the camera `camera`; empty: that of the '
                        'parameter file.'),
    'transport': ('raw', 'Of the images on image_topic; without image_topic: that of the '
                         'parameter file.'),
    **DETECTOR_ARGUMENTS,
}


def generate_launch_description():
    """
    Describe the launch.

    Returns:
        The arguments and the node.
    """
    return description(ARGUMENTS, _start)


def _start(values):
    topic, transport = values['image_topic'], values['transport']
    if not topic and transport != ARGUMENTS['transport'][0]:
        raise ConfigError(f'detector.launch.py: transport is {transport!r}, but image_topic is '
                          'empty; give image_topic:=TOPIC, or set both in the parameter file')
    return detector(values, {} if not topic else {
        'camera.image_topic': topic, 'camera.transport': transport})
