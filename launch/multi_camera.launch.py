"""Start one detector for several cameras, configured and activated."""

from pathlib import Path

from mbv2ssd_ros.ros.launching import description, detector, DETECTOR_ARGUMENTS

# share/mbv2ssd_ros where it is installed, else the source tree
SHARE = Path(__file__).resolve().parents[1]
ARGUMENTS = {
    'cameras': ('', 'Names of the cameras, as in front,rear; each has the topics '
                    '<name>/image_raw and <name>/detections, and its own parameters. Empty: '
                    'those of the parameter file.'),
    'params_file': (str(SHARE / 'config' / 'multi_camera.yaml'), 'Parameter file of the node.'),
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
    names = [name.strip() for name in values['cameras'].split(',')]
    return detector(values, {'cameras': names} if values['cameras'] else {})
