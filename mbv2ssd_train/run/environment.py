"""The environment of a run: program versions, source commit, processor."""

from __future__ import annotations

from collections.abc import Sequence
import importlib.metadata
from pathlib import Path
import platform
import re
import shlex
import subprocess
from typing import Any

import cv2
import numpy as np
import torch

_USER_OF_URL = re.compile(r'(?<=://)[^/@\s]+@')


def describe_environment() -> dict[str, Any]:
    """Return versions, source commit and hardware for JSON; None where unknown."""
    return {
        'mbv2ssd_ros': package_version(), 'commit': source_commit(),
        'python': platform.python_version(), 'torch': torch.__version__,
        'numpy': np.__version__, 'opencv': cv2.__version__, 'system': platform.platform(),
        'cpu': _cpu_name(), 'threads': torch.get_num_threads(),
        'gpus': [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]}


def command_line(arguments: Sequence[str]) -> str:
    """Quote a command line for a shell, without users and passwords in URLs."""
    return shlex.join(without_user(argument) for argument in arguments)


def without_user(text: str) -> str:
    """Remove user names and passwords from the URLs in a text."""
    return _USER_OF_URL.sub('', text)


def source_commit() -> str | None:
    """Return the git commit of this source tree, with '+changes' where files differ from it."""
    folder = Path(__file__).resolve().parent
    # an installed copy may be inside the work tree of another repository
    if _git(folder, 'ls-files', '--error-unmatch', Path(__file__).name) is None:
        return None
    commit = _git(folder, 'rev-parse', 'HEAD')
    changes = _git(folder, 'status', '--porcelain', '--untracked-files=no')
    return f'{commit}+changes' if commit and changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(['git', '-C', str(folder), *arguments], capture_output=True,
                              text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_version() -> str | None:
    """Return the version of this package; None where it runs from its source tree."""
    try:
        return importlib.metadata.version('mbv2ssd_ros')
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str | None:
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    except OSError:
        return platform.processor() or None
    found = re.search(r'^model name\s*:\s*(.+)$', text, re.MULTILINE)
    return found[1] if found else platform.processor() or None
