"""The journal of a run: every finished frame is on disk, so that the run can be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
import json
import os
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.durable import whole_lines
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.evaluation.frame_record import FrameRecord

FILE_NAME = 'journal.jsonl'


class Journal:
    """
    A JSON lines file: the inputs of the run, then one line for each frame, in order.

    A line that a kill cut off is removed; its frame is processed again.
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any]) -> None:
        """
        Start a journal in an existing folder, or resume the one that is there.

        inputs is everything that the results depend on. ConfigError: the file belongs to a run
        with other inputs. DataError: it cannot be read or written.
        """
        self.path = path
        self.records: list[FrameRecord] = []
        try:
            lines = whole_lines(path)
            if lines:
                self._resume(lines, inputs)
            if not self.records:
                lines = []  # of a run that finished no frame, and may have had other inputs
            self._file = path.open('a', encoding='utf-8')
            if path.is_file():
                self._file.truncate(sum(len(line) + 1 for line in lines))
            if not lines:
                self._write(json.dumps({'inputs': inputs}) + '\n')
        except OSError as err:
            raise _unwritable(path, err) from err

    def _resume(self, lines: Sequence[bytes], inputs: Mapping[str, Any]) -> None:
        try:
            before = json.loads(lines[0])['inputs']
            self.records = [FrameRecord.from_dict(json.loads(line)) for line in lines[1:]]
        except (ValueError, KeyError, TypeError) as err:
            raise DataError(f'{self.path}: not the journal of an evaluation ({err!r}); remove '
                            'it or choose another --output') from err
        now = json.loads(json.dumps(inputs))
        if before != now and self.records:
            different = sorted(key for key in {*before, *now}
                               if before.get(key) != now.get(key))
            raise ConfigError(
                f'{self.path.parent} holds results of another run: {", ".join(different)} '
                f'differ, e.g. {before.get(different[0])!r} there and {now.get(different[0])!r} '
                'here. Choose another --output, or start over with --restart')

    def append(self, record: FrameRecord) -> None:
        """Record the next frame; DataError where the disk is full."""
        try:
            self._write(record.to_line())
        except OSError as err:
            raise _unwritable(self.path, err) from err
        self.records.append(record)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # append has reported it
            self._file.close()

    def _write(self, line: str) -> None:
        self._file.write(line)
        self._file.flush()


def _unwritable(path: Path, err: OSError) -> DataError:
    reason = os.strerror(err.errno) if err.errno else str(err)
    return DataError(f'{path}: {reason}; what is in it is kept, and the same command resumes '
                     'from there')
