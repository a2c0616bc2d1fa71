"""Progress through the frames of a bag: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import sys
import time
from typing import Any, TypeVar

_BAR, _REDRAW_S, _LOG_S = 24, 0.2, 30.0
Item = TypeVar('Item')


def frame_progress(title: str, done: int, total: int
                   ) -> Callable[[Iterator[Item]], Iterator[Item]]:
    """
    Return a function that passes items on and displays their number.

    `done` frames are of an earlier run; `total` is the number in the bag's metadata.
    """
    def wrap(items: Iterator[Item]) -> Iterator[Item]:
        display = _Display(title, done, total)
        try:
            for item in items:
                yield item
                display.advance()
        finally:
            display.end()
    return wrap


class _Display:

    def __init__(self, title: str, done: int, total: int) -> None:
        self._title, self._first, self._done, self._total = title, done, done, total
        self._stream: Any = sys.stderr
        self._is_terminal = self._stream.isatty()
        self._started = self._shown = time.monotonic()
        if done:
            print(f'{title}: goes on after {done} of {total} frames', file=self._stream)

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= (_REDRAW_S if self._is_terminal else _LOG_S):
            self._shown = now
            self._show(now)

    def end(self) -> None:
        if self._done > self._first:
            self._show(time.monotonic())
            if self._is_terminal:
                print(file=self._stream)

    def _show(self, now: float) -> None:
        rate = (self._done - self._first) / max(now - self._started, 1e-9)
        text = f'{self._done}/{self._total} frames, {rate:.1f} a second'
        left = max(0, self._total - self._done) / max(rate, 1e-9)
        if left >= 1:
            text += f', {int(left // 60)}:{int(left % 60):02d} left'
        if self._is_terminal:
            filled = _BAR * min(self._done, self._total) // max(self._total, 1)
            bar = '#' * filled + '.' * (_BAR - filled)
            print(f'\r{self._title} [{bar}] {text}\033[K', end='', file=self._stream, flush=True)
        else:
            print(f'{self._title}: {text}', file=self._stream, flush=True)
