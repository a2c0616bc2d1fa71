"""metrics.jsonl: the measurements of a run, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import json
import math
from pathlib import Path
from typing import Any

from mbv2ssd_ros.core.durable import sync, whole_lines, write_whole
from mbv2ssd_ros.core.errors import DataError


class MetricsFile:
    """
    Lines of measured values, each with its `step`.

    Each line is flushed whole before the next one: a killed process loses none that was appended,
    and leaves a torn one at most at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, values: Mapping[str, Any]) -> None:
        """Write a line with `step`; non-finite values become null, for any reader."""
        line = json.dumps(plain(values), allow_nan=False) + '\n'
        with self.path.open('a', encoding='utf-8') as file:
            file.write(line)

    def sync(self) -> None:
        """Wait until all lines are on disk."""
        if self.path.exists():
            sync(self.path)

    def read(self) -> list[dict[str, Any]]:
        """Read all lines but a torn last one; DataError where another one is not JSON."""
        return list(self._lines())

    def cut_after(self, step: int) -> list[dict[str, Any]]:
        """
        Drop a torn line and the lines of later steps; return the others.

        Raises DataError where a line before the last one is not JSON.
        """
        kept = [line for line in self._lines() if line.get('step', 0) <= step]
        if self.path.exists():
            write_whole(self.path, ''.join(f'{json.dumps(line)}\n' for line in kept))
        return kept

    def _lines(self) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(whole_lines(self.path), 1):
            try:
                found = json.loads(line)
            except ValueError as err:
                raise DataError(f'{self.path}:{number}: not JSON: {line[:60]!r}; remove the line '
                                'to continue') from err
            if not isinstance(found, dict):
                raise DataError(f'{self.path}:{number}: found {line[:60]!r}, expected an object '
                                'such as {"step": 1}')
            yield found


def plain(value: Any) -> Any:
    """Convert numbers, arrays and tensors, in dicts and lists, to JSON; non-finite to None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):  # numpy and torch
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
