"""Leftovers of killed nodes in /dev/shm: Fast DDS's files that no process has open any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import re

from mbv2ssd_ros.ros.fast_dds import FILE_NAME
from mbv2ssd_ros.tools.checkup.finding import Finding, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.machine import Machine

_FOLDER = '/dev/shm'
_NAMED = 3
_HARMLESS_BYTES = 1_000_000  # ports and locks; a segment has 0.5 or 64 MiB


@dataclass(frozen=True)
class Leftovers:
    """Files of Fast DDS."""

    used: int  # number of files that belong to running processes, or to other users
    stale: tuple[Path, ...]
    stale_bytes: int


def shared_memory(machine: Machine) -> Iterator[Finding]:
    """Report files that killed nodes left behind."""
    if not machine.path(_FOLDER).is_dir():
        yield Finding('shared memory', SKIPPED, f'there is no {_FOLDER}')
        return
    found = leftovers(machine)
    if not found.stale:
        yield Finding('shared memory', OK, f'{_FOLDER} has {found.used} files of running nodes '
                      'and none that was left behind')
        return
    names = [path.name for path in found.stale]
    if found.stale_bytes < _HARMLESS_BYTES:
        yield Finding('shared memory', OK, f'{len(names)} files in {_FOLDER} were left behind by '
                      'a killed node, but hold almost no memory', details=tuple(names))
        return
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    yield Finding(
        'shared memory', WARNING,
        f'{len(names)} files in {_FOLDER} with {found.stale_bytes / 1e6:.0f} MB belong to no '
        f'process, a killed node left them: {", ".join(names[:_NAMED])}{more}',
        f'`fastdds shm clean`, or rm {_FOLDER}/NAME for each (all names: --json); end nodes '
        'with SIGINT, not SIGKILL', tuple(names))


def leftovers(machine: Machine) -> Leftovers:
    """
    Separate the files of running processes from those without one.

    Whether another user's process has a file cannot be seen; files of others count as used.
    """
    files = sorted(machine.path(_FOLDER).iterdir())
    groups = {path: match[1] for path in files if (match := FILE_NAME.fullmatch(path.name))}
    in_use = {match[1] for match in map(FILE_NAME.fullmatch, _open_names(machine)) if match}
    stale = {}
    for path in groups:
        with suppress(FileNotFoundError):  # removed meanwhile
            found = path.stat()
            if groups[path] not in in_use and os.geteuid() in (0, found.st_uid):
                stale[path] = found.st_blocks * 512  # pages never written take none
    return Leftovers(len(groups) - len(stale), tuple(stale), sum(stale.values()))


def _open_names(machine: Machine) -> set[str]:
    mapped = re.compile(rf'{_FOLDER}/(\S+)', re.MULTILINE)
    names: set[str] = set()
    for process in machine.path('/proc').glob('[0-9]*'):
        try:
            names.update(mapped.findall((process / 'maps').read_text(errors='replace')))
            for link in (process / 'fd').iterdir():
                names.update(mapped.findall(os.readlink(link)))
        except OSError:  # process ended meanwhile, or belongs to another user
            continue
    return names
