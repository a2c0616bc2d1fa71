"""The node's parameters: declared, overridden from outside, read together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rclpy.exceptions import InvalidParameterException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.parameters import (
    camera_parameters,
    check_camera_names,
    DetectorParams,
    NO_NAMES,
    NODE_PARAMETERS,
    ParameterSpec,
    unknown_parameters,
)


class ParameterTable:
    """
    Declares the node's parameters and reads them.

    A bad value in a parameter file does not end the process: the parameter gets its default, and
    `check` raises an error until it is set. So the node can be queried, corrected and configured.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        # rclpy has no public access to overrides that were never declared: the typing errors
        self._overrides: dict[str, Parameter] = dict(node._parameter_overrides)
        self._declared: dict[str, ParameterSpec] = {}
        self._problems: dict[str, str] = {}
        for name, spec in NODE_PARAMETERS.items():
            self._declare(name, spec)
        try:
            self.declare_cameras()
        except ConfigError as err:
            self._problems['cameras'] = str(err)

    def declare_cameras(self) -> None:
        """Declare the parameters of the cameras named now, undeclare those of others."""
        names = check_camera_names(self._value('cameras', {}))
        for name in [name for name in self._declared if '.' in name]:
            if name.partition('.')[0] not in names:
                self._node.undeclare_parameter(name)
                del self._declared[name]
                self._problems.pop(name, None)
        self._declare_cameras(names)

    def declare_new_cameras(self, changes: Iterable[Parameter]) -> None:
        """Declare the parameters of cameras that changes name, so that they can be set, too."""
        for change in changes:
            if change.name == 'cameras':
                try:
                    self._declare_cameras(check_camera_names(change.value))
                except (ConfigError, TypeError):
                    return  # setting it fails and says why

    def _declare_cameras(self, names: Iterable[str]) -> None:
        for camera in names:
            transport = self._overrides.get(f'{camera}.transport')  # a default depends on it
            specs = camera_parameters(camera, transport.value if transport else 'raw')
            for name, spec in specs.items():
                if name not in self._declared:
                    self._declare(name, spec)

    def read(self, changes: Sequence[Parameter] = ()) -> DetectorParams:
        """Read and check all parameters, with changes not yet set. May raise ConfigError."""
        changed = {change.name: change for change in changes}
        values = {name: self._value(name, changed) for name in self._declared}
        for camera in check_camera_names(values['cameras']):
            # a newly named camera gets its parameters at the next configure
            for name, spec in camera_parameters(camera, 'raw').items():
                values.setdefault(name, spec.default)
        return DetectorParams.from_values(values)

    def is_sound(self) -> bool:
        """Whether the parameters are consistent; never False while the node is configured."""
        try:
            self.read()
        except ConfigError:
            return False
        return True

    def converted(self, changes: list[Parameter]) -> list[Parameter]:
        """Return changes with whole numbers for floats, and empty lists, in the declared type."""
        found = []
        for change in changes:
            spec = self._declared.get(change.name)
            if spec is not None:
                wanted = Parameter.Type.from_parameter_value(spec.default)
                value, problem = _typed_value(change, wanted, spec.default)
                change = change if problem else Parameter(change.name, wanted, value)
            found.append(change)
        return found

    def accepted(self, changes: Iterable[Parameter]) -> None:
        """Clear the problems of parameters that were set."""
        for change in changes:
            self._problems.pop(change.name, None)

    def problem(self, name: str) -> str:
        """Return what is wrong with the override of a parameter; empty if nothing is."""
        return self._problems.get(name, '')

    def check(self) -> list[str]:
        """
        Return warnings about unknown parameters.

        ConfigError for a value that was replaced by its default, or a name that looks like a
        typing error.
        """
        if self._problems:
            raise ConfigError('; '.join(self._problems.values()))
        for name in self._overrides:
            # rclpy supports those of /clock
            if name.startswith('qos_overrides.') and './clock.' not in name:
                raise ConfigError(
                    f'{name} is not supported; set <camera>.qos_reliability of the images. The '
                    'quality of service of all topics is in docs/node.md')
        return unknown_parameters(self._overrides, self._declared, self._value('cameras', {}))

    def _declare(self, name: str, spec: ParameterSpec) -> None:
        wanted = Parameter.Type.from_parameter_value(spec.default)
        value, problem = spec.default, ''
        if name in self._overrides:
            value, problem = _typed_value(self._overrides[name], wanted, spec.default)
        try:
            self._node.declare_parameter(name, value, spec.descriptor(), ignore_override=True)
        except (InvalidParameterValueException, InvalidParameterException) as err:
            problem = f'parameter {name!r}: {err}'
            self._node.declare_parameter(
                name, spec.default, spec.descriptor(), ignore_override=True)
        self._declared[name] = spec
        if problem:
            self._problems[name] = problem

    def _value(self, name: str, changed: dict[str, Parameter]) -> Any:
        parameter = changed.get(name) or self._node.get_parameter(name)
        return parameter.value


def _typed_value(override: Parameter, wanted: Parameter.Type, default: Any) -> tuple[Any, str]:
    """Return the value of an override and what is wrong with it, if anything."""
    if override.type_ == wanted:
        return override.value, ''
    if wanted == Parameter.Type.DOUBLE and override.type_ == Parameter.Type.INTEGER:
        return float(override.value), ''  # 1 instead of 1.0 in a parameter file
    if wanted == Parameter.Type.STRING_ARRAY and not override.value and (
            override.type_ == Parameter.Type.NOT_SET or override.type_.name.endswith('ARRAY')):
        return NO_NAMES, ''  # [] has no type in a parameter file, and any in a call
    return default, (
        f'parameter {override.name!r} is {override.value!r} of type {override.type_.name}, '
        f'expected {wanted.name}')
