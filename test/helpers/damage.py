"""Damage to encoded images as lost, overwritten and exchanged packets leave it."""

import cv2

PACKET_BYTES = (188, 512, 1024, 1460, 3072)  # MPEG TS, disk, USB, Ethernet, USB 3
JPEG_VARIANTS = {
    'baseline': [], 'quality 95': [cv2.IMWRITE_JPEG_QUALITY, 95],
    'progressive': [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    'restart markers': [cv2.IMWRITE_JPEG_RST_INTERVAL, 20],
    'optimised tables': [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
}


def damaged(data, kind, size, rng, start=0):
    """
    Damage an encoded image after byte `start`, up to its last two bytes.

    kind: 'hole' removes `size` bytes, 'zeros' overwrites them, 'cut' removes all from one byte on,
    'swap' exchanges two parts of that size.
    """
    end = len(data) - 2
    size = min(size, (end - start) // 3)
    if kind == 'cut':
        return data[:rng.randrange(start, end)] + data[end:]
    if kind == 'swap':
        first = rng.randrange(start, end - 2 * size)
        second = rng.randrange(first + size, end - size + 1)
        return (data[:first] + data[second:second + size] + data[first + size:second]
                + data[first:first + size] + data[second + size:])
    first = rng.randrange(start, end - size)
    return data[:first] + bytes(size if kind == 'zeros' else 0) + data[first + size:]


def scan_start(jpeg):
    """Return where the entropy-coded data of the first scan begin."""
    marker = jpeg.index(b'\xff\xda')
    return marker + 2 + int.from_bytes(jpeg[marker + 2:marker + 4], 'big')
