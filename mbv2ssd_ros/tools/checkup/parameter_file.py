"""Values for a detector node in a parameter file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.missing_images import WantedCamera
from mbv2ssd_ros.ros.parameter_file import is_for_node, no_section, read_sections
from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, WARNING


def read_overrides(path: Path, node: str) -> dict[str, Any]:
    """
    Read the values for one node, by full parameter name; later sections win.

    Raises ConfigError when the file cannot be read, or nothing in it is for this node.
    """
    sections = read_sections(path)
    fitting = [values for section, values in sections.items() if is_for_node(section, node)]
    if not fitting:
        raise ConfigError(no_section(path, sections, node))
    merged: dict[str, Any] = {}
    for values in fitting:
        merged.update(_flat(values, ''))
    return merged


def judge(path: Path, node: str) -> Iterator[Finding]:
    """Check a parameter file as the node would at configure; needs ROS."""
    subject = f'parameters of {path.name}'
    try:
        overrides = read_overrides(path, node)
        values = _with_defaults(overrides)
        from mbv2ssd_ros.ros.parameters import DetectorParams, unknown_parameters
        DetectorParams.from_values(values)
        warnings = unknown_parameters(overrides, values, values['cameras'])
    except (ConfigError, TypeError) as err:
        yield Finding(subject, ERROR, str(err), f'correct {path}')
        return
    for warning in warnings:
        yield Finding(subject, WARNING, warning, f'correct {path}')
    if not warnings:
        yield Finding(subject, OK, f'{len(overrides)} parameters are set')


def wanted_cameras(values: Mapping[str, Any], namespace: str) -> tuple[WantedCamera, ...]:
    """
    Extract the cameras from parameter values, completed by defaults; needs ROS.

    Raises ConfigError when the values are invalid.
    """
    from mbv2ssd_ros.ros.parameters import DetectorParams
    params = DetectorParams.from_values(_with_defaults(values))
    return tuple(
        WantedCamera(camera.name, full_topic(camera.image_topic, namespace), camera.transport,
                     camera.qos_reliability) for camera in params.cameras)


def full_topic(topic: str, namespace: str) -> str:
    """Expand a relative topic name, before remapping."""
    return topic if topic.startswith('/') else f'{namespace.rstrip("/")}/{topic}'


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    from mbv2ssd_ros.ros.parameters import (
        camera_parameters,
        check_camera_names,
        NODE_PARAMETERS,
    )
    specs = dict(NODE_PARAMETERS)
    names = values.get('cameras', NODE_PARAMETERS['cameras'].default)
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f'cameras is {names!r}, expected names, as in [front, rear]')
    for name in check_camera_names(names):
        specs.update(camera_parameters(name, values.get(f'{name}.transport', 'raw')))
    found = {}
    for name, spec in specs.items():
        value = values.get(name, spec.default)
        if isinstance(spec.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(spec.default) and not (
                isinstance(spec.default, list) and isinstance(value, (list, tuple))):
            raise ConfigError(f'{name} is {value!r}, expected {type(spec.default).__name__} as in '
                              f'{spec.default!r}')
        low, high = spec.allowed or (None, None)
        if low is not None and not low <= value <= high:
            raise ConfigError(f'{name} is {value!r}, expected {low} to {high}')
        found[name] = value
    return found


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
