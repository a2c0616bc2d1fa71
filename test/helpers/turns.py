"""Tests that measure time run while no other worker of pytest-xdist runs a test."""

import fcntl

import pytest


class Turns:
    """
    Two lock files that the workers of a run share.

    A test holds the room with others, one that is marked `alone` by itself. Who waits for the
    room stands in the door, so that nobody overtakes it.
    """

    def __init__(self, folder):
        """Open the files, which the first one makes."""
        self._door, self._room = (open(folder / name, 'w') for name in ('door', 'room'))
        self._alone = False

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """Wait for the turn of a test; neighbours that run alone take theirs in one go."""
        alone = is_alone(item)
        if not self._alone:
            fcntl.flock(self._door, fcntl.LOCK_EX)
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._door, fcntl.LOCK_UN)
        yield
        self._alone = alone and nextitem is not None and is_alone(nextitem)
        if not self._alone:
            fcntl.flock(self._room, fcntl.LOCK_UN)


def is_alone(item):
    """Tell whether a test is marked so."""
    return item.get_closest_marker('alone') is not None
