"""Where the model file is."""

from __future__ import annotations

from pathlib import Path
import sys

from mbv2ssd_ros.core.errors import ConfigError

PACKAGE = 'mbv2ssd_ros'
SHIPPED_MODEL = Path('models') / 'mbv2_ssdlite_voc.onnx'


def find_model(model_path: str) -> Path:
    """
    Find the model that a parameter means.

    Args:
        model_path: a file, ~ allowed; empty: the model that comes with this package.

    Returns:
        The path; of a file, where it is the shipped one.

    Raises:
        ConfigError: the shipped model was not installed.
    """
    if model_path:
        return Path(model_path).expanduser()
    candidates = [folder / SHIPPED_MODEL for folder in share_folders()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(
        'model_path is empty and the model that comes with the package is not installed; looked '
        f'for {", ".join(map(str, candidates))}. Set model_path to an ONNX file made by '
        '`mbv2ssd_train export`')


def share_folders() -> list[Path]:
    """
    List where the files that come with the package may be.

    Returns:
        The source tree, the share folder of an ament prefix and that of a pip installation.
    """
    folders = [Path(__file__).resolve().parents[2]]
    try:
        from ament_index_python.packages import get_package_share_directory
        folders.append(Path(get_package_share_directory(PACKAGE)))
    except (ImportError, LookupError):  # no ament index, or this package is not in it
        pass
    return [*folders, Path(sys.prefix) / 'share' / PACKAGE]
