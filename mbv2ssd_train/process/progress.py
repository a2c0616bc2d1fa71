"""Progress display: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
import sys
import time
from typing import Any

_LOG_EVERY_S = 30.0  # and after the first step, where more follow


class ProgressBar:
    """A bar with a changing text, as a context manager; total None: unknown."""

    def __init__(self, title: str, total: int | None, done: int = 0, shown: bool = True
                 ) -> None:
        self._shown = shown
        self._title, self._total, self._done = title, total, done
        self._started, self._start_done, self._logged = time.monotonic(), done, time.monotonic()
        self._output = sys.stdout  # also where a library's prints are diverted meanwhile
        from rich import console, progress  # here, so that --help needs nothing installed
        self._bar = progress.Progress(
            progress.TextColumn('{task.description}'), progress.BarColumn(),
            progress.MofNCompleteColumn(), progress.TextColumn('{task.fields[times]}'),
            progress.TextColumn('{task.fields[note]}'), console=console.Console(file=sys.stdout),
            disable=not (shown and sys.stdout.isatty()))
        self._task = self._bar.add_task(title, total=total, completed=done, note='', times='')

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # its terminal was closed
            self._bar.stop()

    def advance(self, note: str = '') -> None:
        """Count a step and show the note behind the bar."""
        self._done += 1
        now = time.monotonic()
        seconds, times = now - self._started, self._times(now - self._started)
        self._bar.update(self._task, advance=1, note=note, times=times)
        first = self._done == self._start_done + 1 and self._seconds_left(seconds) > _LOG_EVERY_S
        due = now - self._logged > _LOG_EVERY_S or self._done == self._total or first
        if self._shown and self._bar.disable and due:
            self._logged = now
            total = '' if self._total is None else f'/{self._total}'
            print(f'{self._title}: {self._done}{total}, {times} {note}', flush=True,
                  file=self._output)

    def _times(self, seconds: float) -> str:
        left = self._seconds_left(seconds)
        ahead = f', {_clock(left)} left' if self._total and self._done < self._total else ''
        return f'{_clock(seconds)} elapsed{ahead}'

    def _seconds_left(self, seconds: float) -> float:
        """Estimate from the first step on; 0 where the total is not known."""
        return ((self._total or self._done) - self._done) * seconds / (
            self._done - self._start_done)

    def write(self, text: str) -> None:
        """Print a line above the bar."""
        if self._shown:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{rest:02}' if minutes >= 60 else (
        f'{minutes}:{rest:02}')


def with_progress(title: str) -> Any:
    """Return a function of (items, total) that yields the items and shows a bar."""
    def wrap(items: Iterable[Any], total: int) -> Iterator[Any]:
        with ProgressBar(title, total) as bar:
            for item in items:
                yield item
                bar.advance()
    return wrap
