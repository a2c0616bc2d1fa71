"""Python, the libraries of the node, and ROS 2."""

from __future__ import annotations

from collections.abc import Iterator
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
import re
import sys

from mbv2ssd_ros.core.errors import one_line
from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.machine import Machine

LOWEST_PYTHON, LOWEST_NUMPY = (3, 10), (1, 21)
# module: (name of the package, what to do without it)
LIBRARIES = {
    'numpy': ('NumPy', 'pip install numpy'),
    'cv2': ('OpenCV', 'apt install python3-opencv, or pip install opencv-python-headless'),
    'yaml': ('PyYAML', 'apt install python3-yaml, or pip install PyYAML'),
}
ROS_PACKAGES = ('sensor_msgs', 'vision_msgs', 'diagnostic_msgs', 'lifecycle_msgs',
                'rcl_interfaces')
_SOURCE_ROS = 'source the setup.bash of ROS 2, or run `make setup` and activate .venv'


def python(version: tuple[int, ...] = tuple(sys.version_info[:3]),
           executable: str = sys.executable) -> Iterator[Finding]:
    """Check the version of the interpreter."""
    text = f'{".".join(map(str, version))} ({executable})'
    if version[:2] < LOWEST_PYTHON:
        yield Finding('Python', ERROR, f'{text}, expected 3.10 or later',
                      'use the Python of Ubuntu 22.04 or later')
    else:
        yield Finding('Python', OK, text)


def package() -> Iterator[Finding]:
    """Report the version of this package and which copy runs."""
    folder = Path(__file__).resolve().parents[2]
    try:
        yield Finding('mbv2ssd_ros', OK,
                      f'{importlib.metadata.version("mbv2ssd_ros")} ({folder})')
    except importlib.metadata.PackageNotFoundError:
        yield Finding('mbv2ssd_ros', WARNING, f'runs from {folder} and is not installed',
                      '`colcon build` and source install/setup.bash, or `pip install -e .`')


def libraries() -> Iterator[Finding]:
    """Check each library that the node needs on every machine."""
    for name, (title, remedy) in LIBRARIES.items():
        yield library(name, title, remedy)


def library(name: str, title: str, remedy: str) -> Finding:
    """Import a module; `remedy` is the next step when that fails."""
    try:
        module = importlib.import_module(name)
    except Exception as err:  # one built for another NumPy raises anything
        return Finding(title, ERROR, f'cannot be imported: {one_line(err)}', remedy)
    version = str(getattr(module, '__version__', 'of unknown version'))
    if name == 'numpy' and tuple(map(int, re.findall(r'\d+', version)[:2])) < LOWEST_NUMPY:
        return Finding(title, ERROR, f'{version}, expected 1.21 or later',
                       'pip install "numpy>=1.21"')
    return Finding(title, OK, version)


def onnxruntime() -> Iterator[Finding]:
    """Report ONNX Runtime and its execution providers."""
    remedy = 'pip install onnxruntime'
    found = library('onnxruntime', 'ONNX Runtime', remedy)
    if found.level != OK:
        yield found
        return
    providers = importlib.import_module('onnxruntime').get_available_providers()
    yield Finding(found.subject, OK, f'{found.text} with {", ".join(providers)}')


def ros(machine: Machine) -> Iterator[Finding]:
    """Report distribution, middleware, interfaces and reach of ROS 2; skipped without ROS."""
    distribution = machine.environment.get('ROS_DISTRO', '')
    if problem := _missing_middleware(machine):
        yield problem
        return
    try:
        rmw = middleware()
    except ImportError as err:
        if distribution:
            yield Finding('ROS 2', ERROR, f'{distribution} is sourced, but rclpy cannot be '
                          f'imported by {sys.executable}: {one_line(err)}',
                          'run the doctor with the Python that ROS was built for, usually '
                          '/usr/bin/python3')
        else:
            yield Finding('ROS 2', SKIPPED, f'not installed ({one_line(err)}); topics, cameras '
                          'and nodes are left out', _SOURCE_ROS)
        return
    yield Finding('ROS 2', OK, f'{distribution or "rclpy without ROS_DISTRO"}, {rmw}')
    yield from _interfaces()


def _missing_middleware(machine: Machine) -> Finding | None:
    """Report a chosen RMW that is not installed: rcl ends the process then."""
    chosen = machine.environment.get('RMW_IMPLEMENTATION', '')
    try:
        from ament_index_python import get_resources
        there = [name for name in get_resources('rmw_typesupport') if name != 'rmw_implementation']
    except ImportError:
        return None
    if not chosen or chosen in there:
        return None
    return Finding('ROS 2', ERROR, f'RMW_IMPLEMENTATION is {chosen}, which is not installed; '
                   f'there is {", ".join(there) or "none"}',
                   f'apt install ros-$ROS_DISTRO-{chosen.replace("_", "-")}, or unset it')


def middleware() -> str:
    """Return the name of the RMW in use; ImportError without ROS."""
    importlib.import_module('rclpy')  # its part may be imported without it
    return importlib.import_module('rclpy.utilities').get_rmw_implementation_identifier()


def has_ros() -> bool:
    """Return whether there is an rclpy; not whether it can be imported."""
    return importlib.util.find_spec('rclpy') is not None


def _interfaces() -> Iterator[Finding]:
    missing = [name for name in ROS_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        packages = ' '.join(f'ros-$ROS_DISTRO-{name.replace("_", "-")}' for name in missing)
        yield Finding('interfaces', ERROR, f'{", ".join(missing)} cannot be found',
                      f'apt install {packages}')
    elif importlib.util.find_spec('mbv2ssd_msgs') is None:
        yield Finding('interfaces', OK, 'all that the node needs; without mbv2ssd_msgs it has no '
                      '~/status, /diagnostics has the same')
    else:
        yield Finding('interfaces', OK, 'all, with mbv2ssd_msgs')


def domain(machine: Machine) -> Iterator[Finding]:
    """Check ROS_DOMAIN_ID and how far discovery reaches."""
    yield _domain(machine)


def _domain(machine: Machine) -> Finding:
    number = machine.environment.get('ROS_DOMAIN_ID', '') or '0'
    text = f'ROS_DOMAIN_ID is {number}'
    if not number.isdecimal() or int(number) > 232:
        return Finding('ROS domain', ERROR, f'{text}, expected 0 to 101', 'set it to one of these')
    if 101 < int(number) < 215:
        return Finding('ROS domain', WARNING, f'{text}; Linux gives the ports of 102 to 214 to '
                       'other programs', 'take one of 0 to 101')
    reach = machine.environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper()
    local = machine.environment.get('ROS_LOCALHOST_ONLY') == '1'
    if reach == 'OFF' and not local:
        return Finding('ROS domain', WARNING, f'{text}; no other node is heard, not even of this '
                       'machine: ROS_AUTOMATIC_DISCOVERY_RANGE is OFF',
                       'set it to LOCALHOST or SUBNET')
    if local or reach == 'LOCALHOST':
        return Finding('ROS domain', OK, f'{text}; only this machine can be heard, because '
                       'of ROS_LOCALHOST_ONLY or ROS_AUTOMATIC_DISCOVERY_RANGE')
    return Finding('ROS domain', OK, text)
