"""Read, decode and reduce image files without trusting their headers."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.annotations import MAX_PIXELS
from mbv2ssd_ros.core.errors import DataError, UnsupportedImageError
from mbv2ssd_ros.core.image_header import stored_size_wh

MAX_FILE_BYTES = 2 ** 28  # of an encoded image or an annotation file
UNREAD_SUFFIXES = ('.avif', '.gif', '.heic', '.heif')  # pictures of formats that are not read
Order = Literal['little', 'big']
# EXIF orientation, tag 274: what a viewer does with the stored pixels
TURNS = {2: 'mirrored', 3: 'turned by 180 degrees', 4: 'mirrored top to bottom',
         5: 'transposed', 6: 'turned by 90 degrees', 7: 'transposed and turned by 180 degrees',
         8: 'turned by 270 degrees'}
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # tags of TIFF and EXIF
_OTHERS = {b'GIF8': 'GIF', b'ftyphei': 'HEIC', b'ftyphev': 'HEIC', b'ftypmif1': 'HEIC',
           b'ftypavif': 'AVIF'}


def decode_image(encoded: bytes, source: str) -> NDArray[np.uint8]:
    """
    Decode an image of any colour type and 8 or 16 bit to (H, W, 3) uint8 BGR, as it is shown.

    JPEG, PNG, WebP, BMP, TIFF and PPM; turned as EXIF asks, which OpenCV does for some of them
    only. Raises DataError for other formats, truncated files (OpenCV would fill a JPEG with grey),
    more than MAX_PIXELS pixels, or a failed decode.
    """
    size_hw, turn = header_of(encoded, source)
    _check_pixels(size_hw, source)
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(as_stored(encoded), np.uint8),
                                   cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes at all, or more pixels than OpenCV allows
        pixels = None
    if pixels is None:
        raise DataError(f'{source}: does not decode as an image ({len(encoded)} bytes); '
                        'replace the file or remove it from the split')
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _check_pixels(size_hw: tuple[int, int], source: str) -> None:
    height, width = size_hw
    if width * height > MAX_PIXELS:
        raise DataError(f'{source}: its header has {width} x {height} pixels, '
                        f'{MAX_PIXELS // 10 ** 6} million are allowed; remove it from the split')


def read_file(path: Path) -> bytes:
    """Read a file; raises DataError where it is unreadable, not regular or too large."""
    try:
        if not path.is_file():  # nor a pipe, which would never end
            raise DataError(f'{path}: cannot be read: no such file')
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise DataError(f'{path}: has {size / 1e9:.1f} GB; {MAX_FILE_BYTES / 1e9:.1f} GB are '
                            'allowed')
        return path.read_bytes()
    except (OSError, ValueError) as err:  # ValueError: a zero byte in the name
        raise DataError(f'{path}: cannot be read: {err}') from err


def reduce_image(pixels: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """Reduce (H, W, 3) uint8 so that its longer side is longest_px at most."""
    longest = max(pixels.shape[:2])
    if longest <= longest_px:
        return pixels
    size_wh = [max(1, round(side * longest_px / longest)) for side in pixels.shape[1::-1]]
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def image_size_hw(encoded: bytes, source: str) -> tuple[int, int]:
    """Read the size of a picture as it is shown: turned as EXIF asks; DataError as header_of."""
    (height, width), turn = header_of(encoded, source)
    return (width, height) if turn > 4 else (height, width)


def header_of(encoded: bytes, source: str) -> tuple[tuple[int, int], int]:
    """
    Read the stored size, (H, W), and the EXIF orientation, 1 (none) to 8, of a complete file.

    Raises DataError for a truncated file and for other formats than JPEG, PNG, WebP, BMP, TIFF
    and PPM.
    """
    try:
        size_wh = stored_size_wh(encoded) or _other_size_wh(encoded)
    except UnsupportedImageError as err:
        raise DataError(f'{source}: {err}; replace the file or remove it from the split') from err
    if size_wh is None:
        for magic, name in _OTHERS.items():
            if magic in encoded[:12]:
                raise DataError(f'{source}: {name} is not read; convert the file to JPEG or PNG')
        raise DataError(
            f'{source}: does not decode as an image ({len(encoded)} bytes): not JPEG, PNG, WebP, '
            'BMP, TIFF or PPM; replace the file or remove it from the split')
    return (size_wh[1], size_wh[0]), _orientation(encoded)


def as_stored(encoded: bytes) -> bytes:
    """Return a TIFF without its turn: OpenCV would apply it, whatever its flags say."""
    if _is_tiff(encoded) and (place := _places(encoded).get(_ORIENTATION)):
        order: Order = 'little' if encoded[:1] == b'I' else 'big'
        return encoded[:place] + (1).to_bytes(2, order) + encoded[place + 2:]
    return encoded


def _is_tiff(encoded: bytes) -> bool:
    return encoded[:4] in (b'II*\0', b'MM\0*')


def _other_size_wh(encoded: bytes) -> tuple[int, int] | None:
    if encoded[:2] == b'BM' and len(encoded) >= 26:
        # BMP stores images from the top with a negative height
        return (abs(int.from_bytes(encoded[18:22], 'little', signed=True)),
                abs(int.from_bytes(encoded[22:26], 'little', signed=True)))
    if found := re.match(rb'P[1-6](?:\s|#.*\n)+(\d{1,9})(?:\s|#.*\n)+(\d{1,9})\s', encoded):
        return int(found[1]), int(found[2])
    if _is_tiff(encoded):
        tags = _tags(encoded)
        return (tags[_WIDTH], tags[_HEIGHT]) if {_WIDTH, _HEIGHT} <= tags.keys() else None
    return None


def _orientation(encoded: bytes) -> int:
    if encoded[:2] == b'BM' or encoded[:1] == b'P':
        return 1
    tiff = encoded if _is_tiff(encoded) else _exif(encoded)
    found = _tags(tiff).get(_ORIENTATION, 1)
    return found if found in TURNS else 1


def _exif(encoded: bytes) -> bytes:
    """Return the EXIF block of a JPEG, PNG or WebP, without its name; empty: none."""
    if encoded[:2] == b'\xff\xd8':
        position = 2
        while encoded[position:position + 1] == b'\xff' and encoded[position + 1] != 0xDA:
            size = int.from_bytes(encoded[position + 2:position + 4], 'big')
            if encoded[position + 1] == 0xE1 and encoded[position + 4:position + 8] == b'Exif':
                return encoded[position + 10:position + 2 + size]
            position += 1 if encoded[position + 1] == 0xFF else 2 + size  # fill bytes
        return b''
    webp = encoded[:4] == b'RIFF'
    order: Order = 'little' if webp else 'big'
    position, name = (12, b'EXIF') if webp else (8, b'eXIf')
    while position + 8 <= len(encoded):
        kind = encoded[position:position + 4] if webp else encoded[position + 4:position + 8]
        size = _number(encoded, position + (4 if webp else 0), 4, order)
        if kind == name:
            return encoded[position + 8:position + 8 + size].removeprefix(b'Exif\0\0')
        position += 8 + size + (size % 2 if webp else 4)  # padding; a checksum
    return b''


def _tags(tiff: bytes) -> dict[int, int]:
    """Read the short and long numbers of the first directory of a TIFF."""
    order: Order = 'little' if tiff[:1] == b'I' else 'big'
    return {tag: _number(tiff, place, 2 if _number(tiff, place - 6, 2, order) == 3 else 4, order)
            for tag, place in _places(tiff).items()}


def _places(tiff: bytes) -> dict[int, int]:
    """Find where the short and long numbers of the first directory of a TIFF are."""
    order: Order = 'little' if tiff[:1] == b'I' else 'big'
    start = _number(tiff, 4, 4, order)
    entries = range(start + 2, start + 2 + 12 * _number(tiff, start, 2, order), 12)
    return {_number(tiff, entry, 2, order): entry + 8 for entry in entries
            if entry + 12 <= len(tiff) and _number(tiff, entry + 2, 2, order) in (3, 4)}


def _number(data: bytes, position: int, size: int, order: Order) -> int:
    return int.from_bytes(data[position:position + size], order)
