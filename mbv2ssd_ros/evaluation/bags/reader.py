"""
Recordings, read without ROS: rosbag2 (sqlite3 and mcap, compressed or not) and ROS 1 bags.

A bag is opened as a folder with a metadata.yaml, as a folder of storage files that lost it, as a
single storage file, or as a .bag file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter
from pathlib import Path
import re
from typing import Any

from mbv2ssd_ros.core.errors import DataError, one_line
from mbv2ssd_ros.evaluation.bags.message_types import (
    DETECTIONS,
    full_name,
    rosbags_library,
    standard_types,
    types_of,
)
from mbv2ssd_ros.evaluation.bags.unclosed_mcap import is_unclosed, UnclosedMcap

STORAGES = ('.db3', '.mcap')
METADATA = 'metadata.yaml'
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'  # a serialised message begins with a zero byte
_HINTS = (  # part of the reader's message, and what helps
    ('end magic', 'The recording was not closed or is truncated: remove metadata.yaml to read '
                  'the complete part'),
    ('Profile', 'It is an mcap file that ROS 2 did not write'),
    ('not indexed', 'The recording was not closed: `rosbag reindex FILE` helps'),
    ('index looks damaged', 'The recording was not closed or is truncated: `rosbag reindex FILE` '
                            'may help'),
    ('malformed', 'The file is truncated or corrupt: `sqlite3 FILE .recover` may help'),
    ('ompression', 'Supported is zstd, and lz4 inside mcap and ROS 1 files; `ros2 bag convert` '
                   'writes such a bag'),
    ('of requested', 'The file is truncated: `rosbag reindex FILE` may help'),
    ('files are missing', 'Copy all files of the bag, or remove metadata.yaml to read those that '
                          'are there'),
    ('metadata', 'Remove metadata.yaml to read the files without it'),
    ('codec', 'It is damaged; remove metadata.yaml to read the other files'))


@dataclass(frozen=True)
class Topic:
    """A topic of a bag."""

    name: str
    kind: str  # full name of the message type
    count: int  # of messages, by the index of the bag


@dataclass(frozen=True)
class BagMessage:
    """One message as it was recorded."""

    topic: str
    kind: str  # full name of the message type
    log_ns: int  # when it was recorded, nanoseconds
    content: Any  # deserialised, fields as in ROS; None where that failed
    fault: str = ''  # why that failed


class Bag:
    """An open recording; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Find the files; DataError: no bag there; ConfigError: rosbags is not installed."""
        rosbags = rosbags_library()
        self.path = path
        self.is_ros1 = path.suffix == '.bag'
        files = [UnclosedMcap(file) if file.suffix == '.mcap' and file.is_file()
                 and is_unclosed(file) else file for file in _files(path)]
        reader = rosbags.rosbag1.Reader if self.is_ros1 else rosbags.rosbag2.Reader
        self._cut = [str(file) for file in files if isinstance(file, UnclosedMcap)]
        self._readers = [self._guarded(file, reader, file) for file in files]
        standard_types(self.is_ros1)  # slow once: not at the first frame, whose time is measured
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        """Open the files, or raise DataError."""
        with ExitStack() as stack:
            for reader in self._readers:
                self._guarded(reader.path, stack.enter_context, reader)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What was recorded, sorted by name."""
        counts: Counter[tuple[str, str]] = Counter()
        for reader in self._readers:
            for connection in reader.connections:
                counts[connection.topic, full_name(connection.msgtype)] += connection.msgcount
        return tuple(Topic(name, kind, count) for (name, kind), count in sorted(counts.items()))

    def require(self, names: Sequence[str], kinds: Sequence[str]) -> None:
        """Raise DataError where a topic is missing or has messages of another kind."""
        found = {topic.name: topic for topic in self.topics}
        for name in names:
            if name not in found:
                raise DataError(f'{self.path}: has no topic {name!r}; it has {self.contents()}')
            if found[name].kind not in kinds:
                raise DataError(f'{self.path}: topic {name} has messages of type '
                                f'{found[name].kind}, expected {" or ".join(kinds)}')

    def contents(self) -> str:
        """List names, types and message counts of the topics, for error messages."""
        return ', '.join(f'{topic.name} ({topic.kind}, {topic.count})'
                         for topic in self.topics) or 'no topics at all'

    def messages(self, names: Sequence[str]) -> Iterator[BagMessage]:
        """
        Yield every message of some topics in the order of recording, one in memory at a time.

        A message that cannot be deserialised has no content. DataError, after the last message:
        the files end before the recording does, or cannot be read any further.
        """
        expected = {topic.name: topic.count for topic in self.topics if topic.name in names}
        seen: Counter[str] = Counter()
        stores: dict[Any, Any] = {}
        for connection, log_ns, data in self._raw_messages(names):
            key = connection.msgtype, connection.msgdef
            if key not in stores:
                stores[key] = self._types(connection)
            seen[connection.topic] += 1
            yield self._message(stores[key], connection, log_ns, data)
        for name, count in expected.items():
            if seen[name] < count:
                raise DataError(f'{self.path}: {name} has {seen[name]} messages, {METADATA} '
                                f'lists {count}: files are missing or truncated')
        if self._cut:
            raise DataError(f'{", ".join(self._cut)}: the recording was not closed or is '
                            'truncated; its complete part was read')

    def _raw_messages(self, names: Sequence[str]) -> Iterator[tuple[Any, int, bytes]]:
        chosen = [[c for c in reader.connections if c.topic in names]
                  for reader in self._readers]
        # without connections a reader returns all of its messages
        streams = merge(*(reader.messages(connections) for reader, connections
                          in zip(self._readers, chosen, strict=True) if connections),
                        key=itemgetter(1))
        while True:
            found = self._guarded(self.path, next, streams, None)
            if found is None:
                return
            yield found

    def _types(self, connection: Any) -> Any:
        """Take the bag's own definition of detections, which changed; images did not."""
        kind = full_name(connection.msgtype)
        has_definition = getattr(connection.msgdef.format, 'name', '') == 'MSG'
        if kind != DETECTIONS or not has_definition:
            return standard_types(self.is_ros1)
        return self._guarded(
            self.path, types_of, connection.msgdef.data, connection.msgtype, self.is_ros1)

    def _message(self, store: Any, connection: Any, log_ns: int, data: bytes) -> BagMessage:
        kind = full_name(connection.msgtype)
        try:
            if self.is_ros1:
                content = store.deserialize_ros1(data, kind)
            else:
                content = store.deserialize_cdr(_unpacked(data), kind)
        except Exception as err:  # of damaged bytes: struct.error, IndexError, ValueError, ...
            return BagMessage(connection.topic, kind, log_ns, None,
                              f'{kind} of {len(data)} bytes cannot be deserialised: {err!r}')
        return BagMessage(connection.topic, kind, log_ns, content)

    def _guarded(self, path: Any, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except DataError:
            raise
        # rosbags, sqlite and the decompressors have error families of their own, and damaged
        # files raise struct.error, TypeError and UnicodeDecodeError too
        except Exception as err:
            text = one_line(err).rstrip('.')
            hint = next((hint for word, hint in _HINTS if word in text), '')
            raise DataError(f'{path}: cannot be read as a bag: {text}'
                            + (f'. {hint}' if hint else '')) from err


def _unpacked(data: bytes) -> bytes:
    """Decompress a message of a bag that lost its metadata.yaml, which names the compression."""
    if bytes(data[:4]) != _ZSTD_MAGIC:
        return data
    from rosbags.rosbag2 import reader  # has the zstd of this Python version
    unpacked: bytes = reader.zstd.decompress(data)
    return unpacked


def _files(path: Path) -> list[Path]:
    """Return what the readers open: a folder with its metadata, or storage files."""
    if not path.exists():
        raise DataError(f'{path}: no such bag')
    if path.is_file():
        if path.suffix not in (*STORAGES, '.bag'):
            raise DataError(f'{path}: not a bag; expected a folder, or a file that ends with '
                            f'{", ".join(STORAGES)} or .bag')
        _refuse_open_database(path)
        return [path]
    files = sorted((file for file in path.iterdir() if file.suffix in STORAGES), key=_in_order)
    for file in files:
        _refuse_open_database(file)
    if (path / METADATA).is_file():
        return [path]
    if files:
        return files
    packed = sorted(file.name for file in path.glob('*.zstd'))
    if packed:
        raise DataError(f'{path}: has no {METADATA}, and its files are compressed as a whole '
                        f'({", ".join(packed[:3])}): `unzstd` them first')
    raise DataError(f'{path}: has no {METADATA}, and no file that ends with '
                    f'{" or ".join(STORAGES)}: neither a bag nor a folder of bags')


def _in_order(file: Path) -> tuple[int, str]:
    """Sort by the number that rosbag2 appends: 10 comes after 9."""
    number = re.search(r'_(\d+)$', file.stem)
    return int(number[1]) if number else 0, file.name


def _refuse_open_database(file: Path) -> None:
    log = file.with_name(f'{file.name}-wal')
    if log.is_file() and log.stat().st_size:
        raise DataError(
            f'{log}: the recording was not closed, its last messages are still here; '
            f'`sqlite3 {file.name} "PRAGMA wal_checkpoint(TRUNCATE)"` brings them into the bag')
