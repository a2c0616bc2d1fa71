"""The result of a prediction run."""

from __future__ import annotations

from dataclasses import dataclass
import signal

from mbv2ssd_ros.core.errors import Mbv2SsdError


@dataclass
class Outcome:
    """How many inputs were processed, and which failed."""

    images: int = 0
    frames: int = 0
    faults: tuple[str, ...] = ()  # inputs that could not be read, or not to their end

    def __str__(self) -> str:
        counts = ((self.images, 'image'), (self.frames, 'frame'))
        return ' and '.join(f'{count} {noun}{"s" * (count != 1)}'
                            for count, noun in counts if count) or 'nothing'


class Interrupted(Mbv2SsdError):
    """A signal ended the work early; what was done is on disk."""

    def __init__(self, signum: int, done: str) -> None:
        super().__init__(f'stopped by {signal.Signals(signum).name}; {done}')
        self.exit_code = 128 + signum
