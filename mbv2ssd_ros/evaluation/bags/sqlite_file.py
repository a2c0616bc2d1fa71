"""A .db3 file of rosbag2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
import sqlite3
from urllib.parse import quote

from mbv2ssd_ros.evaluation.bags.channel import Channel
from mbv2ssd_ros.evaluation.bags.message_types import full_name


class SqliteFile:
    """An open database of rosbag2, of any of its versions."""

    repair = 'the file is truncated or corrupt: `sqlite3 FILE .recover` may help'
    fault = ''

    def __init__(self, path: Path) -> None:
        """Open it and count the messages; sqlite3.Error where it is damaged or something else."""
        self.path = path
        # the file may be on a read-only disk
        self._database = sqlite3.connect(f'file:{quote(str(path.absolute()))}?immutable=1',
                                         uri=True)
        self._database.text_factory = lambda text: text.decode(errors='replace')
        try:
            self.channels = self._channels()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def messages(self, channels: Sequence[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield messages in the order of recording."""
        wanted = {channel.id: channel for channel in channels}
        places = ', '.join('?' * len(wanted))
        for key, log_ns, data in self._database.execute(
                f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) '
                'ORDER BY timestamp', tuple(wanted)):
            yield wanted[key], log_ns, data

    def _channels(self) -> tuple[Channel, ...]:
        counts = dict(self._database.execute(
            'SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id'))
        definitions = dict(self._database.execute(
            'SELECT topic_type, encoded_message_definition FROM message_definitions '
            "WHERE encoding = 'ros2msg'")) if self._has('message_definitions') else {}
        return tuple(
            Channel(key, name, full_name(kind), encoding, counts.get(key, 0),
                    definitions.get(kind, ''))
            for key, name, kind, encoding in self._database.execute(
                'SELECT id, name, type, serialization_format FROM topics ORDER BY id'))

    def _has(self, table: str) -> bool:
        return bool(self._database.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone())
