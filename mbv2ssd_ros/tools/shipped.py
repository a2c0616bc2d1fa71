"""Files that come with the package, wherever it is installed."""

from __future__ import annotations

from pathlib import Path

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.shipped import share_folders


def shipped_path(relative: str) -> Path:
    """
    Find a file or folder that the package installs to its share folder.

    Args:
        relative: path below share/mbv2ssd_ros, the same as in the source tree.

    Returns:
        The path.

    Raises:
        ConfigError: it was not installed.
    """
    candidates = [folder / relative for folder in share_folders()]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ConfigError(
        f'{relative} of the package is not installed; looked for '
        f'{", ".join(map(str, candidates))}')
