"""The camera frames of a bag, numbered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mbv2ssd_ros.core.compressed_message import image_from_compressed_msg
from mbv2ssd_ros.core.errors import ConfigError, DataError, UnsupportedImageError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.image_header import stored_size_wh
from mbv2ssd_ros.core.image_message import image_from_msg
from mbv2ssd_ros.core.stamps import stamp_ns
from mbv2ssd_ros.evaluation.bags.channel import absolute
from mbv2ssd_ros.evaluation.bags.message_types import COMPRESSED_IMAGE, IMAGE, IMAGE_KINDS
from mbv2ssd_ros.evaluation.bags.reader import Bag, BagMessage

CLOCKS = ('header', 'recorded')


@dataclass(frozen=True)
class BagFrame:
    """One image message of a bag."""

    number: int  # among all frames that are read, in the order of recording, from 0
    index: int  # among those of its topic, from 0
    stamp_ns: int  # by the chosen clock
    header_ns: int  # stamp of the header, 0 where the message cannot be read
    frame_id: str
    message: BagMessage

    @property
    def topic(self) -> str:
        """Where it was published."""
        return self.message.topic

    def image(self) -> SourceImage:
        """Decode it as the node would, or raise UnsupportedImageError."""
        if self.message.content is None:
            raise UnsupportedImageError(self.message.fault)
        if self.message.kind == COMPRESSED_IMAGE:
            return image_from_compressed_msg(self.message.content)
        return image_from_msg(self.message.content)

    def size_hw(self) -> tuple[int, int]:
        """Return its size without decoding it, or raise UnsupportedImageError."""
        content = self.message.content
        if content is None:
            raise UnsupportedImageError(self.message.fault)
        if self.message.kind == IMAGE:
            return content.height, content.width
        size_wh = stored_size_wh(bytes(content.data))
        if size_wh is None:
            raise UnsupportedImageError(
                f'compressed image ({content.format!r}): expected a JPEG, PNG or WebP file')
        return size_wh[1], size_wh[0]


def image_topics(bag: Bag, asked: Sequence[str]) -> tuple[str, ...]:
    """
    Check the image topics to read; where none is asked for, take the only one of the bag.

    DataError: a topic is missing or has no images, or the bag has no image topic. ConfigError:
    the bag has several and none was asked for, or one is asked for twice.
    """
    if asked:
        bag.require(asked, IMAGE_KINDS)
        if len(set(map(absolute, asked))) < len(asked):
            raise ConfigError(f'a topic is named twice: {", ".join(asked)}')
        return tuple(map(absolute, asked))
    all_found = {topic.name: topic.count for topic in bag.topics if topic.kind in IMAGE_KINDS}
    found = [name for name, count in all_found.items() if count] or list(all_found)
    if not found:
        raise DataError(f'{bag.path}: has no topic with images; it has {bag.contents()}')
    if len(found) > 1:
        raise ConfigError(f'{bag.path}: has the image topics {", ".join(found)}; choose with '
                          '--topic, once for each camera')
    return tuple(found)


def read_frames(bag: Bag, topics: Sequence[str], clock: str = 'header') -> Iterator[BagFrame]:
    """
    Yield every frame in the order of recording, also those that cannot be decoded.

    clock 'header' takes the stamps of the cameras, 'recorded' the times of recording. DataError:
    the bag cannot be read to its end.
    """
    indices: Counter[str] = Counter()
    for number, message in enumerate(bag.messages(topics, IMAGE_KINDS)):
        header = getattr(message.content, 'header', None)
        header_ns = 0 if header is None else stamp_ns(header)
        yield BagFrame(
            number=number, index=indices[message.topic], header_ns=header_ns,
            stamp_ns=message.log_ns if clock == 'recorded' or header is None else header_ns,
            frame_id='' if header is None else header.frame_id, message=message)
        indices[message.topic] += 1
