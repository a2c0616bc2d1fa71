"""Memory, disks and network buffers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
import shutil

from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.machine import Machine

NODE_MIB = 300  # resident: 214 to 260 MB were measured
BUILD_MIB = 1024  # upper bound for the build of a TensorRT engine
LEAST_DISK_MIB, LITTLE_DISK_MIB = 50, 500
_MIB = 2 ** 20
_RMEM = '/proc/sys/net/core/rmem_max'


def memory(machine: Machine) -> Iterator[Finding]:
    """Check the free memory; a Jetson's GPU has the same one."""
    found = dict(re.findall(r'^(\w+):\s+(\d+) kB', machine.text('/proc/meminfo') or '', re.M))
    if 'MemAvailable' not in found:
        yield Finding('memory', SKIPPED, '/proc/meminfo has no MemAvailable')
        return
    free, total = (int(found[name]) // 1024 for name in ('MemAvailable', 'MemTotal'))
    text = f'{free} MiB of {total} MiB are free'
    if free < NODE_MIB:
        yield Finding('memory', ERROR, f'{text}, the node needs about {NODE_MIB}',
                      'end other programs; `ps aux --sort -rss | head` names the large ones')
    elif free < BUILD_MIB:
        yield Finding('memory', WARNING, f'{text}, enough for the node but not for building a '
                      f'TensorRT engine ({BUILD_MIB})', 'end the desktop before build_engine')
    else:
        yield Finding('memory', OK, text)


def disk(what: str, folder: Path) -> Iterator[Finding]:
    """Check the free space for a folder, which need not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free // _MIB
    subject, text = f'disk for {what}', f'{free} MiB are free in {folder}'
    if free < LITTLE_DISK_MIB:
        level = ERROR if free < LEAST_DISK_MIB else WARNING
        yield Finding(subject, level, f'{text}, expected {LITTLE_DISK_MIB}',
                      f'make room there; `du -xh {there} | sort -h | tail` names the large ones')
    else:
        yield Finding(subject, OK, text)


def receive_buffer(machine: Machine, largest_image: int = 0) -> Iterator[Finding]:
    """
    Check the largest receive buffer of a socket, which images from another machine pass through.

    `largest_image` is the size of a message that was seen, in bytes; 0: none.
    """
    text = machine.text(_RMEM)
    if text is None or not text.isdecimal():
        yield Finding('receive buffer', SKIPPED, f'{_RMEM} cannot be read')
        return
    size = int(text)
    if size < largest_image:
        yield Finding(
            'receive buffer', WARNING,
            f'{size} bytes are less than an image of {largest_image} bytes that was seen; from '
            'another machine such images would get lost, on this one shared memory carries them',
            f'sudo sysctl -w net.core.rmem_max={1 << (2 * largest_image - 1).bit_length()}')
    else:
        yield Finding('receive buffer', OK, f'{size} bytes ({_RMEM})')
