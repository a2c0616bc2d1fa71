"""Image files and the names that annotations give them, inside the data folder only."""

from __future__ import annotations

from collections import defaultdict
import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.image_files import UNREAD_SUFFIXES

# names of folders and lists, and what they are for
SPLIT_NAMES = {'train': 'train', 'training': 'train', 'trainval': 'train', 'val': 'val',
               'valid': 'val', 'validation': 'val', 'dev': 'val', 'test': 'test',
               'testing': 'test'}
_BASES = ('', 'images/', 'jpegimages/', 'imgs/')  # folders that names may leave out


def inside(folder: Path, name: str, named_in: str) -> Path:
    """Join folder and name, or raise DataError where an untrusted name leads out of the folder."""
    path = folder / name
    # no file name has a zero byte, and resolve() does not take it
    if '\0' in name or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f'{named_in}: {name!r} leads out of {folder}; refused')
    return path


class Pictures:
    """The image files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.unread: list[Path] = []  # HEIC and the like
        self._folders: set[str] = set()
        for place, folders, names in os.walk(folder):
            folders.sort()
            self._folders |= {self._key(Path(place, name)) for name in folders}
            for name in sorted(names):
                suffix = os.path.splitext(name)[1].lower()
                if not name.startswith('.') and suffix in IMAGE_SUFFIXES:
                    self.files.append(Path(place, name))
                elif suffix in UNREAD_SUFFIXES:
                    self.unread.append(Path(place, name))
        self._named: defaultdict[str, list[Path]] = defaultdict(list)
        self._stems: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            key = self._key(path)
            self._named[key].append(path)
            self._stems[os.path.splitext(key)[0]].append(path)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix().lower()

    def find(self, name: str, named_in: str) -> Path:
        """
        Find a picture by the name that a file gives it; raises DataError where there is none.

        Upper and lower case are the same, and so are / and backslashes. Folders in front of the
        name are left out where this folder does not have them: they are of another machine.
        """
        found = self._lookup(name, self._named) or self._lookup(unquote(name), self._named)
        return self._only(found, name, named_in)

    def of_stem(self, name: str, named_in: str) -> Path:
        """Find a picture by its path without suffix; raises DataError where there is none."""
        return self._only(self._lookup(name, self._stems), name, named_in)

    def has_stem(self, name: str) -> bool:
        """Whether there is a picture of that path without suffix."""
        return bool(self._lookup(name, self._stems))

    def _lookup(self, name: str, known: dict[str, list[Path]]) -> list[Path]:
        parts = [part for part in PurePosixPath(name.replace('\\', '/').lower()).parts
                 if part not in ('/', '.')]
        while parts:
            for base in _BASES:
                if found := known.get(base + '/'.join(parts)):
                    exact = [path for path in found if path.as_posix().endswith(name)]
                    return exact if len(exact) == 1 else found
            if any(base + parts[0] in self._folders for base in _BASES):
                break  # this folder has that one, so that another one's picture is another picture
            del parts[0]
        return []

    def _only(self, found: list[Path], name: str, named_in: str) -> Path:
        if len(found) == 1:  # a link may lead out of the folder
            return inside(self.folder, str(found[0].relative_to(self.folder)), named_in)
        if found:
            raise DataError(f'{named_in}: {short(name)} could be '
                            f'{" or ".join(map(str, found[:3]))}; rename one')
        raise DataError(f'{named_in}: there is no picture {short(name)} in {self.folder} (of '
                        f'{len(self.files)} with a suffix of {", ".join(IMAGE_SUFFIXES)})')
