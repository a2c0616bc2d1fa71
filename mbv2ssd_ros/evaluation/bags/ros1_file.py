"""A .bag file of ROS 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mbv2ssd_ros.evaluation.bags.channel import Channel
from mbv2ssd_ros.evaluation.bags.message_types import full_name, rosbags_library


class Ros1File:
    """An open bag of ROS 1."""

    repair = 'the recording was not closed, or is truncated: `rosbag reindex FILE` may help'
    fault = ''

    def __init__(self, path: Path) -> None:
        """Open it; raises what rosbags raises."""
        self.path = path
        self._reader = rosbags_library().rosbag1.Reader(path)
        self._reader.open()
        self._of_channel = {item.id: item for item in self._reader.connections}
        self.channels = tuple(
            Channel(item.id, item.topic, full_name(item.msgtype), 'ros1', item.msgcount,
                    item.msgdef.data) for item in self._reader.connections)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def messages(self, channels: Sequence[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield messages in the order of recording."""
        wanted = {channel.id: channel for channel in channels}
        for item, log_ns, data in self._reader.messages(
                [self._of_channel[channel.id] for channel in channels]):
            yield wanted[item.id], log_ns, data
