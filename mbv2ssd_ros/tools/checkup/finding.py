"""What a look at one thing gives: a verdict in one line, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

OK, SKIPPED, WARNING, ERROR = 'ok', 'skipped', 'warning', 'error'
LEVELS = (OK, SKIPPED, WARNING, ERROR)  # better ones first


@dataclass(frozen=True)
class Finding:
    """A verdict. `skipped` is what could not be looked at and need not be."""

    subject: str
    level: str
    text: str
    next_step: str = ''
    details: tuple[str, ...] = ()  # too many for a line

    def __post_init__(self) -> None:
        assert self.level in LEVELS, self.level
        assert self.next_step or self.level in (OK, SKIPPED), f'{self.subject}: what now?'

    def line(self) -> str:
        """
        Write it for a terminal.

        Returns:
            One line.
        """
        step = f' -> {self.next_step}' if self.next_step else ''
        return ' '.join(f'{self.level:<8} {self.subject}: {self.text}{step}'.split('\n'))


def examine(subject: str, probe: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """
    Run a probe that may fail in any way.

    Args:
        subject: of its findings.
        probe: looks at something.

    Returns:
        Its findings up to the failure, and one on the failure.
    """
    found: list[Finding] = []
    try:
        for finding in probe():
            found.append(finding)
    except Exception as err:  # a doctor that dies of the illness is no help
        reason = ' '.join(str(err).split())
        found.append(Finding(
            subject, WARNING, f'could not be looked at: {type(err).__name__}: {reason}',
            'the other lines are not affected; report this one as a fault of the doctor'))
    return found


def worst(findings: Iterable[Finding]) -> str:
    """
    Sum findings up.

    Args:
        findings: any number.

    Returns:
        The worst level; `ok` without findings, and when something was merely left out.
    """
    level = max((LEVELS.index(finding.level) for finding in findings), default=0)
    return LEVELS[level] if level > LEVELS.index(SKIPPED) else OK
