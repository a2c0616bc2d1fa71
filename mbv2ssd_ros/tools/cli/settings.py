"""The settings of a program: a frozen dataclass whose fields are its command line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import field, fields
import difflib
import importlib.metadata
from pathlib import Path
import sys
from typing import Any, TypeVar

from mbv2ssd_ros.core.arguments import domain_id

Settings = TypeVar('Settings')
_ROS_ARGS = '--ros-args'


def option(*flags: str, default: Any = None, group: str = '', **how: Any) -> Any:
    """
    Return a dataclass field for an option, or without flags for a positional argument.

    `group` is a heading of the help; `how` is for argparse's add_argument.
    """
    how.update(flags=flags, group=group)
    if not flags:
        return field(metadata=how)
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata={**how, 'default': default})
    return field(default=default, metadata={**how, 'default': default})


def flag(name: str, help: str) -> Any:  # noqa: A002  # as argparse calls it
    """Return a dataclass field for an option without a value."""
    return option(name, default=False, action='store_true', help=help)


def argument_parser(settings: Any, program: str, description: str | None = None,
                    epilog: str | None = None, exclusive: str = '') -> argparse.ArgumentParser:
    """Make the parser of a settings class; of the group `exclusive` only one may be given."""
    parser = argparse.ArgumentParser(
        prog=program, description=description, epilog=epilog, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version=package_version(),
                        help='show the version of this package')
    groups: dict[str, Any] = {'': parser}
    for item in fields(settings):
        how = dict(item.metadata)
        if not how:
            continue
        flags, group = how.pop('flags'), how.pop('group')
        if group not in groups:
            groups[group] = (parser.add_mutually_exclusive_group() if group == exclusive
                             else parser.add_argument_group(group))
        groups[group].add_argument(*flags or [item.name], **how, **(
            {'dest': item.name} if flags else {}))
    return parser


def read(settings: type[Settings], argv: Sequence[str] | None, program: str,
         description: str | None, epilog: str | None = None, exclusive: str = '') -> Settings:
    """Parse a command line; a field `ros_args` gets the arguments for rclpy.init."""
    own = list(sys.argv[1:] if argv is None else argv)
    ros: dict[str, list[str]] = {}
    if any(item.name == 'ros_args' for item in fields(settings)):  # type: ignore[arg-type]
        start = own.index(_ROS_ARGS) if _ROS_ARGS in own else len(own)
        # `ros2 launch` appends them; a lone -- ends them
        end = own.index('--', start) + 1 if '--' in own[start:] else len(own)
        own, ros['ros_args'] = own[:start] + own[end:], own[start:end]
    parser = argument_parser(settings, program, description, epilog, exclusive)
    found, unknown = parser.parse_known_args(own)
    if unknown:
        flags = [flag for item in fields(settings)  # type: ignore[arg-type]
                 for flag in item.metadata.get('flags', ())]
        near = difflib.get_close_matches(unknown[0].partition('=')[0], flags, n=1)
        parser.error(f'unrecognized arguments: {" ".join(unknown)}'
                     + (f'; did you mean {near[0]}?' if near else ''))
    return settings(**vars(found), **ros)


def package_version() -> str:
    """Return the version of this package, where it is installed."""
    try:
        return importlib.metadata.version('mbv2ssd_ros')
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'


def model_option() -> Any:
    """Return the field for --model."""
    return option('--model', default='', metavar='FILE',
                  help='ONNX file (default: the model shipped with the package)')


def topics_option(default: str) -> Any:
    """Return the field for --topic of images; `default` describes those that are taken."""
    return option('--topic', action='append', default=[], metavar='TOPIC', help='of images, raw '
                  f'or compressed; once for each camera (default: {default})')


def full_topic(topic: str, transport: str) -> str:
    """Name an image topic as image_transport does: TOPIC/compressed; full names stay."""
    return topic if transport == 'raw' else f'{topic.removesuffix("/compressed")}/compressed'


def domain_option() -> Any:
    """Return the field for --domain-id."""
    return option('--domain-id', type=domain_id, metavar='0..101',
                  help='ROS_DOMAIN_ID of the processes (default: one of their own)')


def json_option() -> Any:
    """Return the field for --json."""
    return option('--json', type=Path, metavar='FILE', help='write all figures there')
