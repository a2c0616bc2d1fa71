"""Stamps: nanoseconds here, seconds and nanoseconds in messages, text for people."""

from __future__ import annotations

from typing import Any

SECOND_NS = 1_000_000_000


def stamp_ns(header: Any) -> int:
    """Return the stamp of a std_msgs/Header, of ROS 1 or 2, in nanoseconds."""
    return join_stamp(int(header.stamp.sec), int(header.stamp.nanosec))


def join_stamp(sec: int, nanosec: int) -> int:
    """Return nanoseconds."""
    return sec * SECOND_NS + nanosec


def split_stamp(stamp_ns: int) -> tuple[int, int]:
    """Return seconds and nanoseconds, as messages have them."""
    return divmod(stamp_ns, SECOND_NS)


def stamp_text(stamp_ns: int, separator: str = '.') -> str:
    """Write a stamp as in 1700000000.123456789."""
    sec, nanosec = split_stamp(stamp_ns)
    return f'{sec}{separator}{nanosec:09d}'
