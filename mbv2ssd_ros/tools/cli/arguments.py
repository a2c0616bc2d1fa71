"""Types of command line arguments; invalid text raises argparse.ArgumentTypeError."""

from __future__ import annotations

import argparse
import re


def positive(text: str) -> float:
    """Parse a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    return _at_most(text, 1)


def points(text: str) -> float:
    """Parse a number of points of 100."""
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
    """Parse a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above 0')
    return int(text)


def size_wh(text: str) -> tuple[int, int]:
    """Parse width and height in pixels, such as 640x480."""
    found = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if not found:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a size; write width x height in pixels, such as 640x480')
    return int(found[1]), int(found[2])


def domain_id(text: str) -> int:
    """Parse a ROS_DOMAIN_ID for which DDS has free ports on every system."""
    if not text.isdecimal() or int(text) > 101:
        raise argparse.ArgumentTypeError(f'{text!r} is not a domain; choose 0 to 101')
    return int(text)
