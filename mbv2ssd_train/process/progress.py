"""Progress display: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
import sys
import time
from typing import Any

_LOG_EVERY_S = 30.0


class ProgressBar:
    """A bar with a changing text, as a context manager; total None: unknown."""

    def __init__(self, title: str, total: int | None, done: int = 0, shown: bool = True
                 ) -> None:
        self._shown = shown
        self._title, self._total, self._done = title, total, done
        self._started, self._start_done, self._logged = time.monotonic(), done, time.monotonic()
        from rich import progress  # here, so that --help needs nothing installed
        self._bar = progress.Progress(
            progress.TextColumn('{task.description}'), progress.BarColumn(),
            progress.MofNCompleteColumn(), progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(), progress.TextColumn('{task.fields[note]}'),
            disable=not (shown and sys.stdout.isatty()))
        self._task = self._bar.add_task(title, total=total, completed=done, note='')

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # its terminal was closed
            self._bar.stop()

    def advance(self, note: str = '') -> None:
        """Count a step and show the note behind the bar."""
        self._done += 1
        self._bar.update(self._task, advance=1, note=note)
        now = time.monotonic()
        due = now - self._logged > _LOG_EVERY_S or self._done == self._total
        if self._shown and self._bar.disable and due:
            self._logged = now
            print(f'{self._title}: {self._done}{self._left(now)} {note}', flush=True)

    def _left(self, now: float) -> str:
        if self._total is None:
            return ''
        rate = (self._done - self._start_done) / (now - self._started)
        left = (self._total - self._done) / max(rate, 1e-9)
        return f'/{self._total}, {left / 60:.0f} min left'

    def write(self, text: str) -> None:
        """Print a line above the bar."""
        if self._shown:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def with_progress(title: str) -> Any:
    """Return a function of (items, total) that yields the items and shows a bar."""
    def wrap(items: Iterable[Any], total: int) -> Iterator[Any]:
        with ProgressBar(title, total) as bar:
            for item in items:
                yield item
                bar.advance()
    return wrap
