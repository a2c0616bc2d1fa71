"""
An mcap file whose recording was never closed, as a power cut leaves it.

Its records are whole up to some byte. With a footer after the last whole one it is a file without
an index, which rosbags can read from beginning to end.
"""

from __future__ import annotations

import io
import os
from pathlib import Path, PosixPath
import struct

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _DATA_END = 0x02, 0x0F  # opcodes
_HEAD = struct.Struct('<BQ')  # opcode and length of a record
_NO_SUMMARY = _HEAD.pack(_FOOTER, 20) + bytes(20) + MAGIC


def is_unclosed(file: Path) -> bool:
    """Whether a file begins as mcap but does not end so: never closed, or truncated."""
    with file.open('rb') as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            return False
        stream.seek(0, os.SEEK_END)
        if stream.tell() < 2 * len(MAGIC):
            return False  # nothing to recover
        stream.seek(-len(MAGIC), os.SEEK_END)
        return stream.read() != MAGIC


class UnclosedMcap(PosixPath):
    """The path of an unclosed file; rosbags opens it up to its last whole record, and a footer."""

    def open(self, *_: object, **__: object) -> io.BufferedReader:  # type: ignore[override]
        """Open it for reading bytes."""
        return io.BufferedReader(_Completed(Path(self)), 1 << 16)


class _Completed(io.RawIOBase):
    """The records of a file, then a footer."""

    def __init__(self, file: Path) -> None:
        self._end = _end_of_records(file)
        self._size, self._place = self._end + len(_NO_SUMMARY), 0
        self._stream = file.open('rb', buffering=0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = len(buffer)
        if self._place < self._end:
            self._stream.seek(self._place)
            data = self._stream.read(min(wanted, self._end - self._place))
        else:
            first = self._place - self._end
            data = _NO_SUMMARY[first:first + wanted]
        buffer[:len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _end_of_records(file: Path) -> int:
    """Return the offset after the last whole record of data."""
    size, place = file.stat().st_size, len(MAGIC)
    with file.open('rb') as stream:
        while place + _HEAD.size <= size:
            stream.seek(place)
            opcode, length = _HEAD.unpack(stream.read(_HEAD.size))
            # 0 is no opcode: space was allocated and never written
            if opcode in (0, _FOOTER, _DATA_END) or place + _HEAD.size + length > size:
                break
            place += _HEAD.size + length
    return place
