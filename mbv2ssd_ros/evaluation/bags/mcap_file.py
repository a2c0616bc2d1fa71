"""
An mcap file, whatever else is in it and however it ends.

The index at its end is used where it describes every channel. Otherwise the file is read from
beginning to end, as far as its records are whole: a power cut leaves a file without an index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
import os
from pathlib import Path
import struct
from typing import Any
import zlib

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags import foxglove_image
from mbv2ssd_ros.evaluation.bags.channel import Channel
from mbv2ssd_ros.evaluation.bags.message_types import full_name, mcap_library

_MAGIC = b'\x89MCAP0\r\n'
_FOOTER = struct.Struct('<BQQQI')  # opcode, length, start of summary and offsets, CRC
_COMPRESSIONS = ('', 'zstd', 'lz4')


class McapFile:
    """An open mcap file."""

    repair = '`mcap recover FILE -o NEW` may save what is behind the damage'

    def __init__(self, path: Path) -> None:
        """Open it and find its channels; DataError or an error of mcap where it is none."""
        self.path, self.fault = path, ''
        self._mcap = mcap_library()
        self._stream = path.open('rb')
        try:
            self._reader = self._mcap.reader.SeekingReader(self._stream, validate_crcs=True)
            summary = self._summary()
            self._is_indexed = summary is not None
            if summary is None:
                self.channels = self._scanned()
            else:
                self.channels = _channels(summary.channels, summary.schemas,
                                          summary.statistics.channel_message_counts)
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def messages(self, channels: Sequence[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield messages in the order of recording, or without an index in that of the file."""
        wanted = {channel.id: channel for channel in channels}
        for message in self._indexed(channels) if self._is_indexed else self._whole_records():
            if isinstance(message, self._mcap.records.Message) and message.channel_id in wanted:
                yield wanted[message.channel_id], message.log_time, message.data

    def _indexed(self, channels: Sequence[Channel]) -> Iterator[Any]:
        topics = {channel.topic for channel in channels}
        for _, _, message in self._reader.iter_messages(topics):
            yield message

    def _summary(self) -> Any | None:
        """Return the summary where it describes all channels that have messages."""
        try:
            found = self._reader.get_summary()
        except Exception:  # not closed, or damaged: the scan finds out which records are whole
            return None
        if (found is None or found.statistics is None or not found.chunk_indexes
                or not self._is_summary_whole()):
            return None
        described = {key for key, channel in found.channels.items()
                     if not channel.schema_id or channel.schema_id in found.schemas}
        if not described.issuperset(found.statistics.channel_message_counts):
            return None
        for chunk in found.chunk_indexes:
            _require_known(chunk.compression)
        return found

    def _is_summary_whole(self) -> bool:
        """Whether the summary has the checksum that the footer names; 0 stands for none."""
        self._stream.seek(-_FOOTER.size - len(_MAGIC), os.SEEK_END)
        end = self._stream.tell() + _FOOTER.size - 4
        _, _, start, _, checksum = _FOOTER.unpack(self._stream.read(_FOOTER.size))
        self._stream.seek(start)
        return checksum in (0, zlib.crc32(self._stream.read(end - start)))

    def _scanned(self) -> tuple[Channel, ...]:
        records, counts = self._mcap.records, Counter[int]()
        channels: dict[int, Any] = {}
        schemas: dict[int, Any] = {}
        for record in self._whole_records():
            if isinstance(record, records.Message):
                counts[record.channel_id] += 1
            elif isinstance(record, records.Channel):
                channels.setdefault(record.id, record)  # the summary may repeat it, damaged
            elif isinstance(record, records.Schema):
                schemas.setdefault(record.id, record)
        return _channels(channels, schemas, counts)

    def _whole_records(self) -> Iterator[Any]:
        """Yield records in the order of the file; `fault` says where they end too early."""
        self._stream.seek(0)
        stream = self._mcap.stream_reader.StreamReader(self._stream, emit_chunks=True)
        try:
            for record in stream.records:
                if isinstance(record, self._mcap.records.Chunk):
                    _require_known(record.compression)
                    yield from self._mcap.stream_reader.breakup_chunk(record, validate_crc=True)
                else:
                    yield record
        except DataError:
            raise
        except Exception as err:  # of short or damaged bytes: McapError, ValueError, struct.error
            what = (f'damaged at byte {self._stream.tell()} ({err!r}); the part before it'
                    if self._is_closed() else
                    'the recording was not closed or is truncated; its complete part')
            self.fault = f'{what} was read. {self.repair}'

    def _is_closed(self) -> bool:
        """Whether the file ends as mcap does."""
        self._stream.seek(-len(_MAGIC), os.SEEK_END)
        return self._stream.read() == _MAGIC


def _channels(channels: dict[int, Any], schemas: dict[int, Any], counts: dict[int, int]
              ) -> tuple[Channel, ...]:
    found = []
    for key, channel in channels.items():
        schema = schemas.get(channel.schema_id)
        kind = full_name(schema.name) if schema else 'without a type'
        if channel.message_encoding == foxglove_image.PROTOBUF:
            kind = foxglove_image.KINDS.get(kind, kind)
        found.append(Channel(
            key, channel.topic, kind,
            channel.message_encoding, counts.get(key, 0),
            schema.data.decode(errors='replace')
            if schema and schema.encoding in ('ros2msg', 'ros1msg') else ''))
    return tuple(found)


def _require_known(compression: str) -> None:
    if compression not in _COMPRESSIONS:
        raise DataError(f'has chunks with the compression {compression!r}, supported are zstd '
                        'and lz4; `ros2 bag convert` writes such a bag')
