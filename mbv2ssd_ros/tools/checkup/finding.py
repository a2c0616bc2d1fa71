"""The result of one check: a verdict in one line, and the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mbv2ssd_ros.core.errors import one_line

OK, SKIPPED, WARNING, ERROR = 'ok', 'skipped', 'warning', 'error'
LEVELS = (OK, SKIPPED, WARNING, ERROR)  # better ones first


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

    def line(self) -> str:
        """Format it as one line for a terminal."""
        step = f' -> {self.next_step}' if self.next_step else ''
        return ' '.join(f'{self.level:<8} {self.subject}: {self.text}{step}'.split('\n'))


def examine(subject: str, probe: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run a probe that may fail in any way; a failure ends its findings as one more."""
    found: list[Finding] = []
    try:
        for finding in probe():
            found.append(finding)
    except Exception as err:  # one failing check must not end the report
        found.append(Finding(
            subject, WARNING, f'could not be checked: {type(err).__name__}: {one_line(err)}',
            'the other lines are not affected; report this one as a fault of the doctor'))
    return found


def worst(findings: Iterable[Finding]) -> str:
    """Return the worst level; `ok` without findings and when checks were merely skipped."""
    level = max((LEVELS.index(finding.level) for finding in findings), default=0)
    return LEVELS[level] if level > LEVELS.index(SKIPPED) else OK
