"""
Images of Foxglove's protobuf schemas in mcap, as the messages of ROS that mean the same.

Fields are read by their numbers in foxglove/CompressedImage.proto and foxglove/RawImage.proto.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbv2ssd_ros.evaluation.bags.message_types import COMPRESSED_IMAGE, IMAGE, standard_types

PROTOBUF = 'protobuf'
KINDS = {'foxglove.RawImage': IMAGE, 'foxglove.CompressedImage': COMPRESSED_IMAGE}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


def image_content(data: bytes, kind: str) -> Any:
    """Return an image of rosbags; kind is one of ROS. ValueError, IndexError: damaged bytes."""
    types, fields = standard_types().types, _fields(memoryview(data))
    when = _fields(fields.get(1, memoryview(b'')))
    stamp = types['builtin_interfaces/msg/Time'](when.get(1, 0), when.get(2, 0))

    def header(frame_id: int) -> Any:
        return types['std_msgs/msg/Header'](stamp, _text(fields, frame_id))

    if kind == COMPRESSED_IMAGE:
        return types[kind](header(4), _text(fields, 3), np.frombuffer(fields[2], np.uint8))
    return types[kind](header(7), fields[3], fields[2], _text(fields, 4), 0, fields[5],
                       np.frombuffer(fields[6], np.uint8))


def _text(fields: dict[int, Any], number: int) -> str:
    return bytes(fields.get(number, b'')).decode()


def _fields(data: memoryview) -> dict[int, Any]:
    """Return integers and bytes by field number; of a repeated field the last one."""
    found: dict[int, Any] = {}
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            found[number], place = _varint(data, place)
            continue
        if wire_type == _BYTES:
            size, place = _varint(data, place)
        else:
            size = {_FIXED32: 4, _FIXED64: 8}[wire_type]
        if place + size > len(data):
            raise ValueError(f'field {number} has {size} bytes, {len(data) - place} are left')
        part = data[place:place + size]
        found[number] = part if wire_type == _BYTES else int.from_bytes(part, 'little')
        place += size
    return found


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return a number and the place after it."""
    value = shift = 0
    while True:
        byte, place = data[place], place + 1
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            return value, place
        shift += 7
