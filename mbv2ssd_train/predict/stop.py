"""A first signal ends the work at the next frame, a second one at once."""

from __future__ import annotations

import signal
from typing import Any

from mbv2ssd_ros.core.errors import Mbv2SsdError


class Interrupted(Mbv2SsdError):
    """A signal ended the work early; what was done is on disk."""

    def __init__(self, signum: int, done: str) -> None:
        """
        Note the signal.

        Args:
            signum: of the signal.
            done: how far it came, and where the results are.
        """
        super().__init__(f'stopped by {signal.Signals(signum).name}; {done}')
        self.exit_code = 128 + signum


class StopSignal:
    """Remembers the first SIGINT or SIGTERM; use as a context manager in the main thread."""

    number = 0

    def __enter__(self) -> StopSignal:
        self._before = {signum: signal.signal(signum, self._note)
                        for signum in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def __call__(self) -> bool:
        """Tell whether there was a signal."""
        return self.number != 0

    def _note(self, signum: int, _: Any) -> None:
        if self.number:  # the second one means now
            raise KeyboardInterrupt
        self.number = signum
