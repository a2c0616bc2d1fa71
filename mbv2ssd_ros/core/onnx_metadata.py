"""
The metadata of an ONNX file, read and changed without its libraries.

Only the top level of Protocol Buffers' `ModelProto` (onnx.proto) is parsed: the graph is
skipped, so its bytes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mbv2ssd_ros.core.errors import ContractError

_METADATA_PROPS = 14  # of ModelProto: repeated StringStringEntryProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5  # wire types


class _Field(NamedTuple):
    number: int
    start: int  # of its tag
    content: int  # start of what it holds
    end: int


def read_metadata(model: bytes, source: str) -> dict[str, str]:
    """Read the metadata of an ONNX file; ContractError where it is damaged or not ONNX."""
    try:
        return dict(_entry(model[field.content:field.end]) for field in _fields(model)
                    if field.number == _METADATA_PROPS)
    except UnicodeDecodeError as err:
        raise ContractError(
            f'{source}: damaged, it has text that is not UTF-8 ({err.reason})') from err
    except ValueError as err:
        raise ContractError(
            f'{source}: cannot be read as ONNX: {err}; is it a whole model file?') from err


def with_metadata(model: bytes, key: str, value: str, source: str) -> bytes:
    """Return the file with an entry set or replaced; all other bytes stay. As read_metadata."""
    read_metadata(model, source)  # refuses what cannot be read
    kept = [model[field.start:field.end] for field in _fields(model)
            if field.number != _METADATA_PROPS
            or _entry(model[field.content:field.end])[0] != key]
    entry = _packed(_KEY, key.encode()) + _packed(_VALUE, value.encode())
    return b''.join([*kept, _packed(_METADATA_PROPS, entry)])


def _entry(content: bytes) -> tuple[str, str]:
    texts = {field.number: content[field.content:field.end].decode() for field in _fields(content)}
    return texts.get(_KEY, ''), texts.get(_VALUE, '')


def _fields(content: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(content):
        start = at
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if number < 1 or kind not in (_VARINT, _FIXED_64, _BYTES, _FIXED_32):
            raise ValueError(f'byte {start} begins no field')
        if kind == _VARINT:
            begin, at = at, _varint(content, at)[1]
        else:
            length, begin = _varint(content, at) if kind == _BYTES else (
                8 if kind == _FIXED_64 else 4, at)
            at = begin + length
        if at > len(content):
            raise ValueError(f'it ends within the field at byte {start}')
        yield _Field(number, start, begin, at)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number and where it ends."""
    value = 0
    for shift in range(0, 70, 7):  # 64 bits at most
        if at >= len(content):
            raise ValueError('it ends within a number')
        byte = content[at]
        at += 1
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            return value, at
    raise ValueError('it has a number of more than 64 bits')


def _packed(number: int, content: bytes) -> bytes:
    length, digits = len(content), bytearray()
    while length > 0x7f:
        digits.append(length & 0x7f | 0x80)
        length >>= 7
    return bytes([number << 3 | _BYTES, *digits, length]) + content
