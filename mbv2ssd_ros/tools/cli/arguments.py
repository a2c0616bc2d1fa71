"""Values of command line arguments, checked where they are typed."""

from __future__ import annotations

import argparse
import re


def positive(text: str) -> float:
    """
    Read a number above zero from a command line.

    Args:
        text: as typed.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: not such a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def share(text: str) -> float:
    """
    Read a number from 0 to 1 from a command line.

    Args:
        text: as typed.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: not such a number.
    """
    return _at_most(text, 1)


def points(text: str) -> float:
    """
    Read a number of points of 100 from a command line.

    Args:
        text: as typed.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: not such a number.
    """
    return _at_most(text, 100)


def _at_most(text: str, most: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to {most}')
    return value


def whole(text: str) -> int:
    """
    Read a whole number above zero from a command line.

    Args:
        text: as typed.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: not such a number.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above 0')
    return int(text)


def size_wh(text: str) -> tuple[int, int]:
    """
    Read a size such as 640x480 from a command line.

    Args:
        text: as typed.

    Returns:
        Width and height in pixels.

    Raises:
        argparse.ArgumentTypeError: not a size.
    """
    found = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if not found:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a size; write width x height in pixels, such as 640x480')
    return int(found[1]), int(found[2])


def domain_id(text: str) -> int:
    """
    Read a ROS_DOMAIN_ID from a command line.

    Args:
        text: as typed.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: not one that DDS has free ports for on every system.
    """
    if not text.isdecimal() or int(text) > 101:
        raise argparse.ArgumentTypeError(f'{text!r} is not a domain; choose 0 to 101')
    return int(text)
