"""
How the file name of an annotation identifies its frame.

    camera__image_raw-1700000000_123456789.jpg    topic and stamp, as label_bag writes them
    1700000000.123456789.jpg, 1700000000123456789.png   stamp
    frame_000042.xml, 42.jpg                      number of the frame within its topic, from 0

The topic may also be the name of a folder on the way. A prefix before the - that is not a
topic of the bag is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
import re

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.stamps import join_stamp, stamp_text

_SUFFIX = re.compile(r'\.(jpe?g|png|webp|bmp|xml)$', re.IGNORECASE)
_TOPIC = r'(?:(?P<topic>.+)-)?'
_SPLIT_STAMP = re.compile(_TOPIC + r'(?P<sec>\d{1,10})[._](?P<nanosec>\d{9})')
_STAMP = re.compile(_TOPIC + r'(?P<stamp>\d{16,19})')
_INDEX = re.compile(_TOPIC + r'(?:frame_?)?(?P<index>\d{1,9})')


@dataclass(frozen=True)
class FrameKey:
    """How an annotation names its frame: by stamp or by index, and by topic where it does."""

    topic: str | None
    stamp_ns: int | None
    index: int | None

    def __post_init__(self) -> None:
        if self.stamp_ns is not None and not 0 <= self.stamp_ns < 2 ** 63:
            raise DataError(f'the stamp is {self.stamp_ns} ns, expected 0 to 2**63 - 1')


def topic_part(topic: str) -> str:
    """Turn /front/image_raw into front__image_raw; ROS 2 allows no __ in topics."""
    return topic.strip('/').replace('/', '__')


def base_topic(topic: str) -> str:
    """Return /front/image_raw for /front/image_raw/compressed."""
    return topic.removesuffix('/compressed')


def frame_name(topic: str, stamp_ns: int) -> str:
    """Return a file name without suffix that parse_name can read."""
    return f'{topic_part(topic)}-{stamp_text(stamp_ns, "_")}'


def parse_name(name: str, topics: Sequence[str]) -> FrameKey:
    """Find the frame that a file name, with or without folders, identifies, or raise DataError."""
    path = PurePosixPath(name.replace('\\', '/'))
    stem = _SUFFIX.sub('', path.name)
    # labels of a base topic are those of its compressed twin, where only that was recorded
    parts = {topic_part(base_topic(topic)): topic for topic in topics}
    parts.update({topic_part(topic): topic for topic in topics})
    folder = next((parts[part] for part in reversed(path.parent.parts) if part in parts), None)
    for pattern in (_SPLIT_STAMP, _STAMP, _INDEX):
        if found := pattern.fullmatch(stem):
            fields = found.groupdict()
            topic = parts.get(fields['topic'] or '', folder)
            if 'index' in fields:
                return FrameKey(topic, None, int(fields['index']))
            stamp = (int(fields['stamp']) if 'stamp' in fields
                     else join_stamp(int(fields['sec']), int(fields['nanosec'])))
            return FrameKey(topic, stamp, None)
    raise DataError(
        f'{name!r} names no frame; expected TOPIC-SEC_NANOSEC, SEC.NANOSEC, nanoseconds, or the '
        'number of the frame such as frame_000042')
