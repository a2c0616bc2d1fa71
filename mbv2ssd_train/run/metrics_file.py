"""metrics.jsonl: what a run measured, a line each, ready for every JSON reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import json
import math
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.durable import sync, write_whole
from mbv2ssd_ros.core.errors import DataError


class MetricsFile:
    """
    Lines of measured values, each with its `step`.

    A line reaches the system whole before the next one begins: a killed process loses none that
    was appended, and leaves a torn one at most at the end.
    """

    def __init__(self, path: Path) -> None:
        """
        Name the file; nothing is written yet.

        Args:
            path: of the file.
        """
        self.path = path

    def append(self, values: Mapping[str, Any]) -> None:
        """
        Write a line.

        Args:
            values: with `step`; what is not finite becomes null, which every reader takes.
        """
        line = json.dumps(plain(values), allow_nan=False) + '\n'
        with self.path.open('a', encoding='utf-8') as file:
            file.write(line)

    def sync(self) -> None:
        """Wait until all lines are on disk."""
        if self.path.exists():
            sync(self.path)

    def read(self) -> list[dict[str, Any]]:
        """
        Read all lines; one that is torn at the end is left out.

        Returns:
            The lines, none where there is no file.

        Raises:
            DataError: a line before the last one is not JSON.
        """
        return list(self._lines())

    def cut_after(self, step: int) -> list[dict[str, Any]]:
        """
        Go back: drop a torn line and the lines of later steps.

        Args:
            step: the last one whose lines stay.

        Returns:
            The lines that stay.

        Raises:
            DataError: a line before the last one is not JSON.
        """
        kept = [line for line in self._lines() if line.get('step', 0) <= step]
        if self.path.exists():
            write_whole(self.path, ''.join(f'{json.dumps(line)}\n' for line in kept))
        return kept

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        lines = self.path.read_bytes().split(b'\n')
        for number, line in enumerate(lines[:-1], 1):  # what no newline ends is torn
            try:
                found = json.loads(line)
            except ValueError as err:
                raise DataError(f'{self.path}:{number}: not JSON: {line[:60]!r}; remove the line '
                                'to go on') from err
            if not isinstance(found, dict):
                raise DataError(f'{self.path}:{number}: found {line[:60]!r}, expected an object '
                                'such as {"step": 1}')
            yield found


def plain(value: Any) -> Any:
    """
    Turn measured values into what every JSON reader takes.

    Args:
        value: numbers, texts, arrays and tensors of any device, in dicts and lists.

    Returns:
        Plain Python; None for a number that is not finite.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):  # numpy and torch
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
