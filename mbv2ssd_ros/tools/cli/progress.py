"""Progress through the frames of a bag: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import sys
import time
from typing import TypeVar

_BAR, _REDRAW_S, _LOG_S = 24, 0.2, 30.0
Item = TypeVar('Item')


def frame_progress(title: str, done: int, total: int
                   ) -> Callable[[Iterator[Item]], Iterator[Item]]:
    """
    Return a function that passes items on and displays their number.

    `done` frames are of an earlier run; `total` is the number in the bag's metadata.
    """
    is_terminal = sys.stderr.isatty()

    def show(count: int, seconds: float) -> None:
        rate = (count - done) / max(seconds, 1e-9)
        text = f'{count}/{total} frames, {rate:.1f} a second'
        left = max(0, total - count) / max(rate, 1e-9)
        if left >= 1:
            text += f', {int(left // 60)}:{int(left % 60):02d} left'
        if is_terminal:
            filled = _BAR * min(count, total) // max(total, 1)
            bar = '#' * filled + '.' * (_BAR - filled)
            print(f'\r{title} [{bar}] {text}\033[K', end='', file=sys.stderr, flush=True)
        else:
            print(f'{title}: {text}', file=sys.stderr, flush=True)

    def wrap(items: Iterator[Item]) -> Iterator[Item]:
        if done:
            print(f'{title}: resumes after {done} of {total} frames', file=sys.stderr)
        started = shown = time.monotonic()
        count = done
        try:
            for item in items:
                yield item
                count += 1
                now = time.monotonic()
                if now - shown >= (_REDRAW_S if is_terminal else _LOG_S):
                    shown = now
                    show(count, now - started)
        finally:
            if count > done:
                show(count, time.monotonic() - started)
                if is_terminal:
                    print(file=sys.stderr)
    return wrap
