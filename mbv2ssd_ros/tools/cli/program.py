"""How a command line program talks and ends: its messages and exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_ros.shipped import find_model

INTERRUPTED_CODE = 130  # that a shell gives to a program ended by SIGINT
EXPECTED_MODEL = 'expected an ONNX file made by `mbv2ssd_train export`'


def run(program: str, body: Callable[[], int | None], interrupted: str = 'interrupted',
        interrupted_code: int = INTERRUPTED_CODE) -> int:
    """
    Run a program and return its exit code: that of `body`, 1 after an error of this package.

    Ctrl-C prints `interrupted` unless it is empty. Other exceptions are bugs and pass.
    """
    try:
        return body() or 0
    except Mbv2SsdError as err:
        log(program, f'error: {err}')
        return 1
    except KeyboardInterrupt:
        if interrupted:
            log(program, interrupted)
        return interrupted_code


def say(program: str, text: str) -> None:
    """Print to standard output, at once."""
    print(f'{program}: {text}', flush=True)


def log(program: str, text: str) -> None:
    """Print to standard error, at once."""
    print(f'{program}: {text}', file=sys.stderr, flush=True)


def model_file(model_path: str) -> Path:
    """Find the file of --model as `find_model` does; ConfigError when it does not exist."""
    path = find_model(model_path)
    if not path.is_file():
        raise ConfigError(f'--model {path}: no such file; {EXPECTED_MODEL}')
    return path
