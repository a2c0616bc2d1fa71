"""Files of Fast DDS in /dev/shm: what killed nodes left, and nodes of other users."""

from __future__ import annotations

from collections.abc import Iterator
import os

from mbv2ssd_ros.ros import shared_memory as fast_dds_files
from mbv2ssd_ros.ros.fast_dds import FILE_NAME
from mbv2ssd_ros.ros.missing_images import ONE_USER
from mbv2ssd_ros.tools.checkup.finding import Finding, OK, SKIPPED, WARNING

_NAMED = 3
_HARMLESS_BYTES = 1_000_000  # ports and locks; a segment has 0.5 or 64 MiB


def shared_memory() -> Iterator[Finding]:
    """Report files that killed nodes left behind, and running nodes of other users."""
    folder = fast_dds_files.FOLDER
    if not folder.is_dir():
        yield Finding('shared memory', SKIPPED, f'there is no {folder}')
        return
    unused = [path for path in fast_dds_files.unused_files()
              if os.geteuid() in (0, path.stat().st_uid)]
    used = sum(FILE_NAME.fullmatch(name) is not None for name in os.listdir(folder)) - len(unused)
    size = sum(path.stat().st_blocks * 512 for path in unused)  # pages never written take none
    names = tuple(path.name for path in unused)
    if not unused:
        yield Finding('shared memory', OK, f'{folder} has {used} files of running nodes and none '
                      'that was left behind')
    elif size < _HARMLESS_BYTES:
        yield Finding('shared memory', OK, f'{len(names)} files in {folder} were left behind by '
                      'a killed node, but hold almost no memory', details=names)
    else:
        more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
        yield Finding(
            'shared memory', WARNING, f'{len(names)} files in {folder} with {size / 1e6:.0f} MB '
            'are locked and mapped by no process, a killed node left them: '
            f'{", ".join(names[:_NAMED])}{more}', 'start and end a detector node: it removes them '
            'with the locks of Fast DDS held (clean_shared_memory); end nodes with SIGINT, not '
            'SIGKILL', names)
    if others := fast_dds_files.other_users():
        yield Finding(
            'users', WARNING, f'nodes of {", ".join(others)} use {folder}; those of '
            f'{fast_dds_files.user_name(os.geteuid())} can neither hear them nor be heard',
            ONE_USER)
