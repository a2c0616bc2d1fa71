"""The machine as the probes see it: its files, its programs and the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import subprocess

PROGRAM_TIMEOUT_S = 3.0

Run = Callable[[Sequence[str]], 'str | None']


def run_program(command: Sequence[str]) -> str | None:
    """Run a short program and return its output; None if missing, failed or too slow."""
    try:
        found = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=PROGRAM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.decode(errors='replace') if found.returncode == 0 else None


@dataclass(frozen=True)
class Machine:
    """Where probes look; tests give them another root, programs and environment."""

    root: Path = Path('/')
    run: Run = run_program
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, absolute: str) -> Path:
        """Return the same path below the root."""
        return self.root / absolute.lstrip('/')

    def text(self, absolute: str) -> str | None:
        """Read a small file without NUL bytes and outer white space; None if it cannot be read."""
        try:
            content = self.path(absolute).read_bytes()
        except OSError:
            return None
        return content.decode(errors='replace').replace('\0', '').strip()
