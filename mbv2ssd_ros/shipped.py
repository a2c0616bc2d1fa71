"""Files that come with the package, wherever it is installed; models first."""

from __future__ import annotations

from pathlib import Path
import sys

from mbv2ssd_ros.core.errors import ConfigError

PACKAGE = 'mbv2ssd_ros'
SHIPPED_FOLDER = 'models'
DEFAULT_MODEL = 'mbv2_ssdlite_voc.onnx'  # small enough for a machine without a GPU


def find_model(model_path: str) -> Path:
    """Resolve a path (~ allowed), a shipped model's name or ''; ConfigError for other names."""
    path = Path(model_path or DEFAULT_MODEL).expanduser()
    if model_path and (path.name != model_path or path.is_file()):
        return path
    folders = [folder / SHIPPED_FOLDER for folder in share_folders()]
    for folder in folders:
        if (folder / path).is_file():
            return folder / path
    shipped = sorted({file.name for folder in folders for file in folder.glob('*.onnx')})
    names = ', '.join(shipped) or 'none found'
    raise ConfigError(
        f'{path}: no such file, nor a model of the package ({names}); '
        f'looked in {", ".join(map(str, folders))}. Give the path of an ONNX file made by '
        '`mbv2ssd_train export`')


def share_folders() -> list[Path]:
    """List the source tree, the ament share folder and that of a pip installation."""
    folders = [Path(__file__).resolve().parents[1]]
    try:
        from ament_index_python.packages import get_package_share_directory
        folders.append(Path(get_package_share_directory(PACKAGE)))
    except (ImportError, LookupError):  # no ament index, or this package is not in it
        pass
    return [*folders, Path(sys.prefix) / 'share' / PACKAGE]


def shipped_path(relative: str) -> Path:
    """Find a path below share/mbv2ssd_ros, as in the source tree; ConfigError if missing."""
    candidates = [folder / relative for folder in share_folders()]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ConfigError(
        f'{relative} of the package is not installed; looked for '
        f'{", ".join(map(str, candidates))}')
