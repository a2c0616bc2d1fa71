"""One ROS node in one process, with a clean end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError, one_line

_HIGHEST_DOMAIN = 232  # for which UDP has ports


@contextmanager
def ros_node(name: str, ros_args: Sequence[str]) -> Iterator[Any]:
    """
    Run a block with an rclpy node; SIGINT and SIGTERM end the block as KeyboardInterrupt.

    rclpy is imported here, so that --help and the tests of everything else need no ROS. A
    context that is not shut down would leave its segment in /dev/shm. Raises ConfigError without
    ROS 2.
    """
    domain = os.environ.get('ROS_DOMAIN_ID', '')
    if domain.isdecimal() and int(domain) > _HIGHEST_DOMAIN:  # Fast DDS would end the process
        raise ConfigError(f'ROS_DOMAIN_ID is {domain}, expected 0 to {_HIGHEST_DOMAIN}')
    rclpy = ros_module('rclpy')
    from rclpy.signals import SignalHandlerOptions

    # set even where the shell that started us in the background ignores SIGINT
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        rclpy.init(args=list(ros_args), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as err:  # of several types, for arguments and for ROS_DOMAIN_ID
        rclpy.try_shutdown()
        raise ConfigError(f'{_described(ros_args)}: ROS 2 cannot start: {one_line(err)}') from err
    try:
        try:
            node = rclpy.create_node(name)
        except Exception as err:
            raise ConfigError(
                f'{_described(ros_args)}: no node can be made: {one_line(err)}') from err
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


@contextmanager
def valid_topic(option: str, topic: str) -> Iterator[None]:
    """Run a block that uses a topic name; ConfigError names the option where it is none."""
    try:
        yield
    except Exception as err:  # rclpy has two types for it, of which one is private
        raise ConfigError(f'{option} {topic}: {one_line(err)}') from err


def _described(ros_args: Sequence[str]) -> str:
    return (f'{" ".join(ros_args) or "without ROS arguments"}, ROS_DOMAIN_ID='
            f'{os.environ.get("ROS_DOMAIN_ID", "")}')


def ros_module(name: str) -> Any:
    """Import a module of ROS 2; ConfigError when it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise ConfigError(
            f'this Python ({sys.executable}) has no {name.partition(".")[0]}: {err}. Source the '
            'setup.bash of ROS 2, or run `make setup` and activate .venv') from err


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
