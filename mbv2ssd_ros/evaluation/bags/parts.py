"""
Which files make up a recording, which of them are missing, and which recordings a folder holds.

rosbag2 lists its files in metadata.yaml. Without it the files of one recording have one name and
numbers from 0. Files may be compressed as a whole (.zstd); hidden ones are ignored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
import re
from typing import Any

import yaml

from mbv2ssd_ros.core.errors import DataError, one_line
from mbv2ssd_ros.evaluation.bags.message_types import full_name

METADATA = 'metadata.yaml'
PACKED = '.zstd'
_NAME = re.compile(r'(?P<stem>[^.].*?)\.(?P<storage>db3|mcap|bag)(?P<packed>\.zstd)?',
                   re.IGNORECASE)
_NUMBERED = re.compile(r'(.+)_(\d+)')
_SUFFIXES = '.db3, .mcap or .bag, or with .zstd after it'


@dataclass(frozen=True)
class Parts:
    """The files of one recording."""

    files: tuple[Path, ...]
    listed: Counter[tuple[str, str]] = field(default_factory=Counter)  # by topic and type
    faults: tuple[str, ...] = ()  # why they are not the whole recording


def storage_of(file: Path) -> str:
    """Return db3, mcap or bag; empty for a file that is no storage."""
    found = _NAME.fullmatch(file.name)
    return found['storage'].lower() if found else ''


def stem_of(file: Path) -> str:
    """Return the name of a storage file without its suffixes."""
    found = _NAME.fullmatch(file.name)
    return found['stem'] if found else file.stem


def find_parts(path: Path) -> Parts:
    """Find the files of the recording at a path; DataError where there is none, or several."""
    try:
        return _parts(path)
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err.strerror or err}') from err


def _parts(path: Path) -> Parts:
    if not path.exists():
        raise DataError(f'{path}: no such bag')
    if path.is_file():
        if not storage_of(path):
            raise DataError(f'{path}: not a bag; expected a folder, or a file that ends with '
                            f'{_SUFFIXES}')
        return Parts((path,))
    if (path / METADATA).is_file():
        return _listed_parts(path)
    found = _recordings(path)
    if not found:
        raise DataError(f'{path}: has no {METADATA}, and no file that ends with {_SUFFIXES}: '
                        'neither a bag nor a folder of bags')
    if len(found) > 1:
        raise DataError(f'{path}: holds {len(found)} recordings '
                        f'({", ".join(name for name, _ in found[:5])}); name one of them')
    return _numbered_parts(*found[0])


def is_bag(path: Path) -> bool:
    """Whether a path is a storage file, or a folder with the files of one recording."""
    if path.is_file():
        return bool(storage_of(path))
    return (path / METADATA).is_file() or (
        path.is_dir() and len(_recordings(path)) == 1
        and not any(entry.is_dir() and is_bag(entry) for entry in path.iterdir()))


def bags_in(folder: Path, is_skipped: Callable[[Path], bool]) -> list[Path]:
    """
    Find all recordings in a folder and its subfolders, sorted; hidden folders are left out.

    DataError: a folder cannot be read, or holds parts of several recordings.
    """
    try:
        if is_bag(folder):
            return [folder]
        found = []
        for name, files in _recordings(folder):
            if len(files) > 1:
                raise DataError(f'{folder}: holds the parts of {name} beside other recordings; '
                                'move them to a folder of their own')
            found += files
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.name.startswith('.') and not is_skipped(entry):
                found += bags_in(entry, is_skipped)
        return sorted(found)
    except OSError as err:
        raise DataError(f'{folder}: cannot be read: {err.strerror or err}') from err


def _recordings(folder: Path) -> list[tuple[str, list[Path]]]:
    """
    Return name and files of each recording whose files lie in a folder, without metadata.

    Numbered files are parts of one where one of them has the number 0, or where they have the
    name of the folder, as rosbag2 names them; run_1.mcap and run_2.mcap elsewhere are two.
    """
    groups: defaultdict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in sorted(folder.iterdir()):
        if file.is_file() and storage_of(file):
            stem = stem_of(file)
            numbered = _NUMBERED.fullmatch(stem)
            groups[numbered[1] if numbered else stem, storage_of(file)].append(file)
    found: list[tuple[str, list[Path]]] = []
    for (name, storage), files in groups.items():
        numbers = [_number(file) for file in files]
        if storage != 'bag' and None not in numbers and (0 in numbers or name == folder.name):
            found.append((name, files))
        else:
            found += [(file.name, [file]) for file in files]
    return found


def _number(file: Path) -> int | None:
    found = _NUMBERED.fullmatch(stem_of(file))
    return int(found[2]) if found else None


def _numbered_parts(name: str, files: list[Path]) -> Parts:
    of_number = {_number(file): file for file in files}
    if len(files) == 1 and name == files[0].name:
        return Parts(tuple(files))
    if len(of_number) < len(files):
        raise DataError(f'{files[0].parent}: has a part of {name} twice, packed and unpacked or '
                        'with another zero in its number; remove one')
    numbers = sorted(number for number in of_number if number is not None)
    missing = [str(number) for number in range(numbers[-1]) if number not in of_number]
    return Parts(tuple(of_number[number] for number in numbers), faults=(
        f'{files[0].parent}: of {name} the parts {", ".join(missing[:5])} are missing; copy all '
        'files of the bag',) if missing else ())


def _listed_parts(folder: Path) -> Parts:
    """Take the files that metadata.yaml lists; report those that are missing or not listed."""
    there = {file.name: file for file in sorted(folder.iterdir())
             if file.is_file() and storage_of(file)}
    metadata = folder / METADATA
    try:
        found = yaml.safe_load(metadata.read_text(encoding='utf-8-sig'))
        names, listed = _read_metadata(found['rosbag2_bagfile_information'], metadata)
    except (OSError, yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as err:
        if not there:
            raise DataError(f'{metadata}: cannot be read: {one_line(err)}; and {folder} has no '
                            f'file that ends with {_SUFFIXES}') from err
        return Parts(tuple(there.values()), faults=(
            f'{metadata}: cannot be read: {one_line(err)}; the files were read without it, some '
            'may be missing. `ros2 bag reindex` writes it anew',))
    files, faults = [], []
    for name in names:
        other = name.removesuffix(PACKED) if name.endswith(PACKED) else name + PACKED
        file = there.pop(name, None) or there.pop(other, None)
        if file is None:
            faults.append(f'{folder / name}: is listed in {METADATA} and missing; copy all files '
                          'of the bag')
        else:
            files.append(file)
    faults += [f'{file}: is not listed in {METADATA} and was not read; move it away, or '
               '`ros2 bag reindex` the bag' for file in there.values()]
    if not files:
        raise DataError('; '.join(faults) or f'{metadata}: lists no file')
    return Parts(tuple(files), listed, tuple(faults))


def _read_metadata(found: Any, metadata: Path) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Return the names of the files, and how many messages there are by topic and type."""
    mode, compression = found.get('compression_mode'), found.get('compression_format')
    if str(mode or 'none').lower() != 'none' and compression != 'zstd':
        raise DataError(f'{metadata}: names the compression {compression!r}, supported is zstd; '
                        '`ros2 bag convert` writes such a bag')
    listed: Counter[tuple[str, str]] = Counter()
    for item in found['topics_with_message_count']:
        topic = item['topic_metadata']
        listed[str(topic['name']), full_name(str(topic['type']))] += int(item['message_count'])
    return [PurePath(name).name for name in found['relative_file_paths']], listed
