"""
Recordings, read without ROS: rosbag2 (sqlite3 and mcap, compressed or not) and ROS 1 bags.

A recording is read as far as its files allow. What is missing is known at its end: `messages`
then raises, after the last message that could be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
import errno
from heapq import merge
from operator import itemgetter
from pathlib import Path
import shutil
from tempfile import gettempdir, TemporaryDirectory
from typing import Any

from mbv2ssd_ros.core.errors import DataError, one_line
from mbv2ssd_ros.evaluation.bags import foxglove_image
from mbv2ssd_ros.evaluation.bags.channel import absolute, Channel, Storage
from mbv2ssd_ros.evaluation.bags.mcap_file import McapFile
from mbv2ssd_ros.evaluation.bags.message_types import (
    DETECTIONS,
    IMAGE_KINDS,
    rosbags_library,
    standard_types,
    types_of,
)
from mbv2ssd_ros.evaluation.bags.parts import find_parts, PACKED, stem_of, storage_of
from mbv2ssd_ros.evaluation.bags.ros1_file import Ros1File
from mbv2ssd_ros.evaluation.bags.sqlite_file import SqliteFile

_STORAGES: dict[str, Any] = {'mcap': McapFile, 'db3': SqliteFile, 'bag': Ros1File}
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'  # a serialised message begins with a zero byte
_LATEST_NS = 2 ** 63 - 1


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
        """Find the files; DataError: no bag there; ConfigError: a library is not installed."""
        rosbags_library()
        self.path = path
        self._parts = find_parts(path)
        for file in self._parts.files:
            _refuse_open_database(file)
        self._faults: list[str] = []  # why messages are missing, as far as known
        self._storages: list[Storage] = []
        standard_types()  # slow once: not at the first frame, whose time is measured
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        """Open the files; DataError where not one of them can be read."""
        self._faults = list(self._parts.faults)
        with ExitStack() as stack:
            for file in self._parts.files:
                try:
                    storage = _open(file, stack)
                    stack.callback(storage.close)
                    self._storages.append(storage)
                except Exception as err:  # of damaged files: of rosbags, sqlite, mcap, struct, ...
                    self._faults.append(_said(file, err))
            if not self._storages:
                raise DataError('; '.join(self._faults))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._storages.clear()
        self._stack.close()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What was recorded, sorted by name; of each count the larger one of list and files."""
        counts: Counter[tuple[str, str]] = Counter()
        for storage in self._storages:
            for channel in storage.channels:
                counts[absolute(channel.topic), channel.kind] += channel.count
        listed: Counter[tuple[str, str]] = Counter()
        for (name, kind), count in self._parts.listed.items():
            listed[absolute(name), kind] += count
        return tuple(Topic(*key, max(counts[key], listed[key]))
                     for key in sorted(counts.keys() | listed.keys()))

    def require(self, names: Sequence[str], kinds: Sequence[str]) -> None:
        """Raise DataError where a topic is missing or has no messages of these kinds."""
        for name in map(absolute, names):
            found = [topic.kind for topic in self.topics if topic.name == name]
            if not found:
                raise DataError(f'{self.path}: has no topic {name!r}; it has {self.contents()}')
            if not set(found) & set(kinds):
                raise DataError(f'{self.path}: topic {name} has messages of type '
                                f'{" and ".join(found)}, expected {" or ".join(kinds)}')

    def contents(self) -> str:
        """List names, types and message counts of the topics, for error messages."""
        return ', '.join(f'{topic.name} ({topic.kind}, {topic.count})'
                         for topic in self.topics) or 'no topics at all'

    def messages(self, names: Sequence[str], kinds: Sequence[str] = ()) -> Iterator[BagMessage]:
        """
        Yield every message of some topics in the order of recording, one in memory at a time.

        kinds: of these types only; empty: of all. A message that cannot be deserialised has no
        content. DataError, after the last message: parts of the recording are missing or damaged.
        """
        faults, names = list(self._faults), [absolute(name) for name in names]
        expected = {(topic.name, topic.kind): topic.count for topic in self.topics
                    if topic.name in names and (not kinds or topic.kind in kinds)}
        seen: Counter[tuple[str, str]] = Counter()
        stores: dict[str, Any] = {}
        streams = (self._messages_of(storage, expected.keys(), faults)
                   for storage in self._storages)
        for channel, log_ns, data in merge(*streams, key=itemgetter(1)):
            seen[absolute(channel.topic), channel.kind] += 1
            if channel.definition not in stores:
                stores[channel.definition] = _types(channel, self.path)
            yield _message(stores[channel.definition], channel, log_ns, data)
        faults += [f'{self.path}: {name} has {seen[name, kind]} messages, the recording had '
                   f'{count}' for (name, kind), count in expected.items()
                   if seen[name, kind] < count]
        if faults:
            raise DataError('; '.join(dict.fromkeys(faults)))

    def _messages_of(self, storage: Storage, wanted: Any, faults: list[str]
                     ) -> Iterator[tuple[Channel, int, bytes]]:
        chosen = [channel for channel in storage.channels
                  if (absolute(channel.topic), channel.kind) in wanted]
        try:
            if chosen:
                yield from storage.messages(chosen)
        except Exception as err:  # the other files are read to their ends
            faults.append(_said(storage.path, err))
        if storage.fault:
            faults.append(f'{storage.path}: {storage.fault}')


def _open(file: Path, stack: ExitStack) -> Storage:
    opened: Storage
    if file.suffix.lower() == PACKED:
        file = _unpacked_file(file, Path(stack.enter_context(TemporaryDirectory())))
    opened = _STORAGES[storage_of(file)](file)
    return opened


def _unpacked_file(file: Path, folder: Path) -> Path:
    """Decompress a file, as far as it is whole: what is missing shows when it is read."""
    from rosbags.rosbag2 import reader  # has the zstd of this Python version
    unpacked = folder / f'{stem_of(file)}.{storage_of(file)}'
    try:
        with reader.zstd.open(file, 'rb') as packed, unpacked.open('wb') as stream:
            shutil.copyfileobj(packed, stream)
    except EOFError:
        pass
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f'is compressed as a whole, and {gettempdir()} has no space for its content; set '
            'TMPDIR to a folder of a larger disk') from err
    return unpacked


def _types(channel: Channel, path: Path) -> Any:
    """Take the bag's own definition of detections, which changed; images did not."""
    is_ros1 = channel.encoding == 'ros1'
    if channel.kind != DETECTIONS or not channel.definition:
        return standard_types(is_ros1)
    try:
        return types_of(channel.definition, channel.kind, is_ros1)
    except Exception as err:  # of rosbags' parser
        raise DataError(f'{path}: {channel.topic}: its message definition cannot be read: '
                        f'{one_line(err)}') from err


def _message(store: Any, channel: Channel, log_ns: int, data: bytes) -> BagMessage:
    topic, kind = absolute(channel.topic), channel.kind
    if log_ns > _LATEST_NS:
        return BagMessage(topic, kind, _LATEST_NS, None, f'recorded at {log_ns} ns, which is '
                          'after the year 2262')
    is_foxglove = channel.encoding == foxglove_image.PROTOBUF and kind in IMAGE_KINDS
    if channel.encoding not in ('cdr', 'ros1') and not is_foxglove:
        return BagMessage(topic, kind, log_ns, None, f'{kind} is encoded as '
                          f'{channel.encoding!r}, expected cdr or ros1')
    try:
        if is_foxglove:
            content = foxglove_image.image_content(data, kind)
        elif channel.encoding == 'ros1':
            content = store.deserialize_ros1(data, kind)
        else:
            content = store.deserialize_cdr(_unpacked(data), kind)
    except Exception as err:  # of damaged bytes: struct.error, IndexError, ValueError, ...
        return BagMessage(topic, kind, log_ns, None,
                          f'{kind} of {len(data)} bytes cannot be deserialised: {err!r}')
    return BagMessage(topic, kind, log_ns, content)


def _unpacked(data: bytes) -> bytes:
    """Decompress a message, in which case it begins so."""
    if bytes(data[:4]) != _ZSTD_MAGIC:
        return data
    from rosbags.rosbag2 import reader  # has the zstd of this Python version
    unpacked: bytes = reader.zstd.decompress(data)
    return unpacked


def _said(file: Path, err: Exception) -> str:
    """Say what is wrong with a file, and what helps where it is damaged."""
    if isinstance(err, DataError):
        text = str(err)
        return text if text.startswith(str(file.parent)) else f'{file}: {text}'
    if isinstance(err, OSError) and err.strerror:
        return f'{file}: cannot be read: {err.strerror}'
    return (f'{file}: cannot be read as a bag: {one_line(err).rstrip(".")}. '
            f'{_STORAGES[storage_of(file)].repair}')


def _refuse_open_database(file: Path) -> None:
    log = file.with_name(f'{file.name}-wal')
    if log.is_file() and log.stat().st_size:
        raise DataError(
            f'{log}: the recording was not closed, its last messages are still here; '
            f'`sqlite3 {file.name} "PRAGMA wal_checkpoint(TRUNCATE)"` brings them into the bag')
