"""One topic of a storage file, and what all storage files have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Channel:
    """Messages of one type on one topic."""

    id: int
    topic: str
    kind: str  # full name of the message type
    encoding: str  # of the messages: cdr, ros1, protobuf, json, ...
    count: int  # of messages, by the index of the file or by counting
    definition: str = ''  # of the type, in the format of .msg files; empty where there is none


def absolute(topic: str) -> str:
    """Put the slash in front that some recorders leave out."""
    return f'/{topic.lstrip("/")}'


class Storage(Protocol):
    """An open file of messages."""

    path: Path
    repair: str  # what may help when the file is damaged
    channels: tuple[Channel, ...]
    fault: str  # why channels are not all that was recorded; empty where they are

    def messages(self, channels: Sequence[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield channel, time of recording in ns, and bytes; raises what its library raises."""

    def close(self) -> None:
        """Close the file."""
