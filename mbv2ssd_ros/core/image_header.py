"""
What an encoded image declares before it is decoded: JPEG, PNG and WebP.

A decoder fills the missing part of a truncated JPEG with grey, which looks like an empty scene,
and trusts a header that declares gigapixels. So the headers are read first.
"""

from __future__ import annotations

from typing import Literal
import zlib

from mbv2ssd_ros.core.errors import UnsupportedImageError

# of the files that are taken for images, in lower case
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')

JPEG_MAGIC, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
# start of frame, in all variants; C4, C8 and CC are other markers
_JPEG_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA


def stored_size_wh(data: bytes) -> tuple[int, int] | None:
    """
    Read width and height as stored, before any orientation in EXIF, of a complete file.

    None for a format other than JPEG, PNG and WebP; UnsupportedImageError where the file is
    truncated or corrupt.
    """
    if data.startswith(JPEG_MAGIC):
        return _jpeg_size_wh(data)
    if data.startswith(_PNG_MAGIC):
        return _png_size_wh(data)
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return _webp_size_wh(data)
    return None


def _jpeg_size_wh(data: bytes) -> tuple[int, int]:
    size_wh, position = None, 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_FRAME and position + 9 <= len(data):
            size_wh = _uint(data, position + 7, 2), _uint(data, position + 5, 2)
        if marker == _JPEG_SCAN:
            break
        position += 2 + _uint(data, position + 2, 2)
    # in the scan every FF of the data is followed by 00, so this can only be the end
    if size_wh is None or data.find(_JPEG_END, position) < 0:
        raise UnsupportedImageError(
            f'JPEG of {len(data)} bytes is truncated: no '
            f'{"frame header" if size_wh is None else "end marker"}')
    return size_wh


def _png_size_wh(data: bytes) -> tuple[int, int]:
    position, kind = len(_PNG_MAGIC), b''
    while kind != b'IEND':
        kind, end = data[position + 4:position + 8], position + 12 + _uint(data, position, 4)
        if end > len(data) or len(kind) < 4:
            raise UnsupportedImageError(
                f'PNG of {len(data)} bytes is truncated: no complete chunk at byte {position}')
        if zlib.crc32(data[position + 4:end - 4]) != _uint(data, end - 4, 4):
            raise UnsupportedImageError(
                f'PNG of {len(data)} bytes is corrupt: wrong checksum of the chunk {kind!r} at '
                f'byte {position}')
        position = end
    return _uint(data, 16, 4), _uint(data, 20, 4)


def _webp_size_wh(data: bytes) -> tuple[int, int]:
    declared = 8 + _uint(data, 4, 4, 'little')
    if len(data) < max(declared, 30):
        raise UnsupportedImageError(
            f'WebP of {len(data)} bytes is truncated: its header declares {declared}')
    kind = data[12:16]
    if kind == b'VP8X':
        return _uint(data, 24, 3, 'little') + 1, _uint(data, 27, 3, 'little') + 1
    if kind == b'VP8L':
        bits = _uint(data, 21, 4, 'little')  # 14 bits of width - 1, 14 bits of height - 1
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _uint(data, 26, 2, 'little') & 0x3FFF, _uint(data, 28, 2, 'little') & 0x3FFF


def _uint(data: bytes, position: int, size: int, order: Literal['big', 'little'] = 'big') -> int:
    return int.from_bytes(data[position:position + size], order)
