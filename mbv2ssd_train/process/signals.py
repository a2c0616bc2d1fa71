"""Stop a run early: the first signal requests it, the second stops at once."""

from __future__ import annotations

from contextlib import suppress
import os
import signal
from types import FrameType
from typing import Any

from mbv2ssd_ros.core.errors import Mbv2SsdError


class Preempted(Mbv2SsdError):
    """A signal ended the run early; it can be resumed."""

    def __init__(self, signum: int) -> None:
        super().__init__(
            f'stopped by {signal.Signals(signum).name}; the state is saved, resume with --resume')
        self.exit_code = 128 + signum


class StopRequest:
    """
    Records SIGINT, SIGTERM and, unless nohup ignores it, SIGHUP while the context lasts.

    The first one is acknowledged on standard error with `ending`, which says what follows.
    """

    def __init__(self, ending: str = '') -> None:
        self.signum, self._ending = 0, ending
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        self._handlers = {signum: signal.signal(signum, self._on_signal) for signum in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        if self.signum:
            raise SystemExit(128 + signum)
        self.signum = signum
        if self._ending:
            with suppress(OSError):  # of a closed terminal; print is not safe in a handler
                os.write(2, f'\n{self._ending}; once more stops at once\n'.encode())
