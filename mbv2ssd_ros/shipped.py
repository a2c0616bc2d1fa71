"""Files that come with the package, wherever it is installed; models first."""

from __future__ import annotations

from pathlib import Path
import sys

from mbv2ssd_ros.core.errors import ConfigError

PACKAGE = 'mbv2ssd_ros'
SHIPPED_FOLDER = 'models'
DEFAULT_MODEL = 'mbv2_ssdlite_voc.onnx'  # small enough for a machine without a GPU


def find_model(model_path: str) -> Path:
    """
    Find the model that a parameter means.

    Args:
        model_path: a file, ~ allowed; or the name, without a folder, of a file that comes with
            this package, such as mbv2_ssdlite_320_voc.onnx; empty: DEFAULT_MODEL.

    Returns:
        The path; of a file, where it is a shipped one.

    Raises:
        ConfigError: a name without a folder that is neither a file of the working folder nor of
            the package.
    """
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
    """
    List where the files that come with the package may be.

    Returns:
        The source tree, the share folder of an ament prefix and that of a pip installation.
    """
    folders = [Path(__file__).resolve().parents[1]]
    try:
        from ament_index_python.packages import get_package_share_directory
        folders.append(Path(get_package_share_directory(PACKAGE)))
    except (ImportError, LookupError):  # no ament index, or this package is not in it
        pass
    return [*folders, Path(sys.prefix) / 'share' / PACKAGE]


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
