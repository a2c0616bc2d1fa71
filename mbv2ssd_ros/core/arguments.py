"""Types of command line arguments; invalid text raises argparse.ArgumentTypeError."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math
import re


def positive(text: str) -> float:
    """Parse a number above zero."""
    return _number(text, 'a number above 0', lambda value: 0 < value < math.inf)


def seconds(text: str) -> float:
    """Parse a number of seconds that may be zero."""
    return _number(text, 'a number of seconds from 0', lambda value: 0 <= value < math.inf)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    return _number(text, 'a number from 0 to 1', lambda value: 0 <= value <= 1)


def points(text: str) -> float:
    """Parse a number of points of 100."""
    return _number(text, 'a number from 0 to 100', lambda value: 0 <= value <= 100)


def _number(text: str, expected: str, is_valid: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_valid(value):
        raise argparse.ArgumentTypeError(f'{text!r} is not {expected}')
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
