"""The journal of a run: every finished frame is on disk, so that a run goes on where it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
import os
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.evaluation.frame_record import FrameRecord

FILE_NAME = 'journal.jsonl'


class Journal:
    """
    A JSON lines file: what is run on what, then a line for each frame, in order.

    A line that was cut by a kill is taken back; the frame is done again.
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any]) -> None:
        """
        Begin, or go on with what is there.

        Args:
            path: of the file; its folder exists.
            inputs: everything that the results depend on.

        Raises:
            ConfigError: the file is of a run with other inputs.
            DataError: it cannot be read or written.
        """
        self.path = path
        self.records: list[FrameRecord] = []
        try:
            self._begin(inputs)
        except OSError as err:
            raise _unwritable(path, err) from err

    def _begin(self, inputs: Mapping[str, Any]) -> None:
        whole = _take_back_cut_line(self.path)
        lines = self.path.read_text(encoding='utf-8').splitlines() if whole else []
        if lines:
            self._go_on(lines, inputs)
        self._file = self.path.open('a', encoding='utf-8')
        if not lines:
            self._write(json.dumps({'inputs': inputs}) + '\n')

    def _go_on(self, lines: Sequence[str], inputs: Mapping[str, Any]) -> None:
        try:
            before = json.loads(lines[0])['inputs']
            self.records = [FrameRecord.from_dict(json.loads(line)) for line in lines[1:]]
        except (ValueError, KeyError, TypeError) as err:
            raise DataError(f'{self.path}: not the journal of an evaluation ({err!r}); remove '
                            'it or choose another --output') from err
        now = json.loads(json.dumps(inputs))
        if before != now:
            different = sorted(key for key in {*before, *now}
                               if before.get(key) != now.get(key))
            raise ConfigError(
                f'{self.path.parent} holds results of another run: {", ".join(different)} '
                f'differ, e.g. {before.get(different[0])!r} there and {now.get(different[0])!r} '
                'here. Choose another --output, or begin anew with --restart')

    def append(self, record: FrameRecord) -> None:
        """
        Note a frame that is done.

        Args:
            record: the next one.

        Raises:
            DataError: the disk is full, or the file cannot be written.
        """
        try:
            self._write(record.to_line())
        except OSError as err:
            raise _unwritable(self.path, err) from err
        self.records.append(record)

    def close(self) -> None:
        """Close the file; what could not be written before is no longer tried."""
        try:
            self._file.close()
        except OSError:
            pass  # append has told

    def _write(self, line: str) -> None:
        self._file.write(line)
        self._file.flush()


def _take_back_cut_line(path: Path) -> bool:
    """Cut the file behind its last line end; tell whether anything is left."""
    if not path.is_file():
        return False
    with path.open('r+b') as file:
        content = file.read()
        whole = content.rfind(b'\n') + 1
        if whole < len(content):
            file.truncate(whole)
    return whole > 0


def _unwritable(path: Path, err: OSError) -> DataError:
    reason = os.strerror(err.errno) if err.errno else str(err)
    return DataError(f'{path}: {reason}; what is in it is kept, and the same command goes on '
                     'from there')
