"""The result of one check: a verdict in one line, and the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import os
import pickle
import signal
import sys
import tempfile
import time
from typing import IO

from mbv2ssd_ros.core.errors import one_line

OK, SKIPPED, WARNING, ERROR = 'ok', 'skipped', 'warning', 'error'
LEVELS = (OK, SKIPPED, WARNING, ERROR)  # better ones first
_COLOURS = {OK: 32, SKIPPED: 2, WARNING: 33, ERROR: 31}  # of ANSI


@dataclass(frozen=True)
class Finding:
    """A verdict; `skipped` could not be checked and need not be."""

    subject: str
    level: str
    text: str
    next_step: str = ''
    details: tuple[str, ...] = ()  # more than fit in the line

    def __post_init__(self) -> None:
        assert self.level in LEVELS, self.level
        assert self.next_step or self.level in (OK, SKIPPED), f'{self.subject}: what now?'

    def line(self, colour: bool = False) -> str:
        """Format it as one line, with the level in colour for a terminal."""
        step = f' -> {self.next_step}' if self.next_step else ''
        level = f'{self.level:<8}'
        if colour:
            level = f'\033[{_COLOURS[self.level]}m{level}\033[0m'
        return ' '.join(f'{level} {self.subject}: {self.text}{step}'.split('\n'))


def examine(subject: str, probe: Callable[[], Iterable[Finding]], timeout_s: float = 120.0
            ) -> list[Finding]:
    """
    Run a probe in a process of its own, which may fail in any way.

    A failure, be it a crash inside a library, ends the findings as one more.
    """
    sys.stdout.flush()
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _report(probe, answer, errors)
        code = _wait(child, timeout_s)
        answer.seek(0)
        found, problem = _read(answer)
        if code != 0 and not problem:
            errors.seek(0)
            last = errors.read().decode(errors='replace').strip().split('\n')[-1]
            problem = (f'did not end within {timeout_s:g} s' if code is None
                       else f'its process ended with {code}: {last or "without a message"}')
    if problem:
        found.append(Finding(
            subject, WARNING, f'could not be checked: {problem}',
            'correct the errors above, if any; else report this line as a fault of the doctor'))
    return found


def _report(probe: Callable[[], Iterable[Finding]], answer: IO[bytes], errors: IO[bytes]) -> None:
    """Write the findings, then the reason of a failure; never returns."""
    os.dup2(errors.fileno(), 2)
    code = 0
    try:
        for finding in probe():
            pickle.dump(finding, answer)
            answer.flush()
    except KeyboardInterrupt:
        code = 130
    except BaseException as err:  # one failing check must not end the report
        pickle.dump(f'{type(err).__name__}: {one_line(err)}', answer)
        answer.flush()
    os._exit(code)


def _wait(child: int, timeout_s: float) -> int | None:
    """Return the exit code of a process, negative for a signal; None: it took too long."""
    deadline = time.monotonic() + timeout_s
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


def _read(answer: IO[bytes]) -> tuple[list[Finding], str]:
    found: list[Finding] = []
    while True:
        try:
            item = pickle.load(answer)
        except EOFError:
            return found, ''
        if isinstance(item, str):
            return found, item
        found.append(item)


def worst(findings: Iterable[Finding]) -> str:
    """Return the worst level; `ok` without findings and when checks were merely skipped."""
    level = max((LEVELS.index(finding.level) for finding in findings), default=0)
    return LEVELS[level] if level > LEVELS.index(SKIPPED) else OK
