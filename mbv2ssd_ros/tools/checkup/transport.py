"""The transport profile of Fast DDS, as this shell would give it to a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mbv2ssd_ros.ros.fast_dds import (
    PROFILE_VARIABLES,
    profile_variables,
    TRANSPORTS_VARIABLE,
)
from mbv2ssd_ros.ros.shared_memory import room_bytes
from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.machine import Machine

_SUBJECT = 'Fast DDS profile'
_LARGE_SEGMENT = 2 ** 24  # bytes; some images of 1080p
_PORTS = 2 ** 20  # bytes beside a segment


def profile(machine: Machine, middleware: str) -> Iterator[Finding]:
    """
    Check the profile file that each variable of the environment names.

    `middleware` is the name of the RMW in use; empty: unknown.
    """
    if middleware and 'fastrtps' not in middleware:
        yield Finding(_SUBJECT, SKIPPED, f'the middleware is {middleware}')
        return
    named = [(name, machine.environment[name]) for name in PROFILE_VARIABLES.values()
             if machine.environment.get(name)]
    if not named:
        chosen = machine.environment.get(TRANSPORTS_VARIABLE)
        yield Finding(_SUBJECT, OK, f'none; {TRANSPORTS_VARIABLE} is {chosen}' if chosen
                      else 'none, as the detector should run; a camera driver that publishes raw '
                      'images needs config/fastdds_large_images.xml')
        return
    of_2, of_3 = PROFILE_VARIABLES.values()
    for name, value in named:
        if name == of_3 and profile_variables(machine.environment) == (of_2,):
            yield Finding(_SUBJECT, WARNING, f'{name}={value} is not read by Fast DDS 2, which is '
                          'installed', f'name the file with {of_2}')
        else:
            yield _judge(f'{name}={value}', Path(value))


def segment_bytes(path: Path) -> int:
    """
    Return the largest segment_size of a profile in bytes; 0 where none is set.

    Raises OSError, ElementTree.ParseError (not XML) or ValueError (segment_size not a number).
    """
    sizes = [int(element.text or '') for element in ElementTree.parse(path).iter()
             if element.tag.rpartition('}')[2] == 'segment_size']
    return max(sizes, default=0)


def _judge(text: str, path: Path) -> Finding:
    try:
        size = segment_bytes(path)
    except OSError as err:
        return Finding(_SUBJECT, WARNING, f'{text} cannot be read ({err.strerror}); Fast DDS '
                       'ignores it without a message', 'correct the path, or unset the variable')
    except (ElementTree.ParseError, ValueError) as err:
        return Finding(_SUBJECT, ERROR, f'{text} is not a profile: {err}',
                       'correct the file; config/fastdds_large_images.xml is one that works')
    if size < _LARGE_SEGMENT:
        return Finding(_SUBJECT, OK, f'{text}, without a large segment')
    room = room_bytes()
    if room is not None and room < size + _PORTS:
        return Finding(_SUBJECT, ERROR, f'{text} asks for {size / 1e6:.0f} MB of shared memory, '
                       f'/dev/shm has {room / 1e6:.0f} MB: Fast DDS does without shared memory',
                       'start the container with --shm-size=1g or --ipc=host')
    return Finding(_SUBJECT, OK, f'{text}, {size / 1e6:.0f} MB of shared memory for each process '
                   'that this shell starts; for camera drivers, not for the detector')
