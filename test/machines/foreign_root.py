"""
A folder with Python and this package's libraries for a processor of another architecture.

Debian's packages of Python are unpacked there, and wheels are put beside them; nothing of this
system is touched. It takes apt-get, dpkg, pip, and registries that they reach as they are set up.
"""

from functools import partial
import hashlib
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile

CONSTRAINTS = Path(__file__).parents[2] / '.ci' / 'constraints.txt'
DEBIAN_NAMES = {'aarch64': 'arm64', 'x86_64': 'amd64'}
DEBIAN_PACKAGES = ('python3', 'libstdc++6')
WHEELS = ('numpy', 'onnxruntime', 'opencv-python-headless', 'PyYAML')
WHEEL_TAGS = ('manylinux2014', 'manylinux_2_17', 'manylinux_2_27', 'manylinux_2_28')


class Absent(Exception):
    """Something that this machine does not have, and cannot fetch."""


def cache_folder():
    """Return where roots are kept: MBV2SSD_MACHINES, or mbv2ssd/machines in the user's cache."""
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(os.environ.get('MBV2SSD_MACHINES') or f'{cache}/mbv2ssd/machines').expanduser()


def made_once(folder, make):
    """
    Return a folder of the cache; make it first, whole or not at all, where it is missing.

    Args:
        folder: its path.
        make: called with a path at which it makes the folder.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            made = Path(work) / folder.name
            make(made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return folder


def foreign_root(arch):
    """
    Return the root of an architecture.

    Args:
        arch: as platform.machine() has it.

    Returns:
        The folder; wheels are in its subfolder `wheels`.

    Raises:
        Absent: a program is missing, or a registry does not have what is needed.
    """
    pins = [line for line in CONSTRAINTS.read_text().splitlines()
            if line.startswith(tuple(f'{name.lower()}==' for name in WHEELS))]
    wanted = [*pins, *DEBIAN_PACKAGES, *WHEELS, *WHEEL_TAGS]
    digest = hashlib.sha256('\0'.join(wanted).encode()).hexdigest()[:12]
    return made_once(cache_folder() / f'{arch}-{digest}', partial(_make_root, arch))


def python_in(root):
    """Return the interpreter of a root."""
    return min((root / 'usr' / 'bin').glob('python3.*[0-9]'))


def _make_root(arch, root):
    if arch not in DEBIAN_NAMES:
        raise Absent(f'Debian packages for {arch}: its name in Debian is not known here')
    root.mkdir()
    with tempfile.TemporaryDirectory() as work:
        _unpack_debian(Path(work), root, DEBIAN_NAMES[arch])
    _install_wheels(root, arch)


def _unpack_debian(work, root, name):
    """Download Debian's packages by apt's own sources and keys, into an apt state of our own."""
    for folder in ('state/lists/partial', 'cache/archives/partial'):
        (work / folder).mkdir(parents=True)
    (work / 'nothing-installed').touch()
    options = [f'Dir::State={work / "state"}', f'Dir::Cache={work / "cache"}',
               f'Dir::State::status={work / "nothing-installed"}', 'APT::Sandbox::User=',
               f'APT::Architecture={name}', f'APT::Architectures={name}']
    apt = ['apt-get', '-q', *(part for option in options for part in ('-o', option))]
    _run('lists of packages', *apt, 'update')
    _run(f'packages for {name}', *apt, 'install', '--yes', '--download-only',
         '--no-install-recommends', *DEBIAN_PACKAGES)
    for package in (work / 'cache' / 'archives').glob('*.deb'):
        _run('unpacking', 'dpkg', '-x', package, root)


def _install_wheels(root, arch):
    version = re.search(r'[\d.]+$', python_in(root).name)[0]
    _run(f'wheels for {arch}', sys.executable, '-m', 'pip', 'install', '--no-input', '--no-deps',
         '--disable-pip-version-check', '--target', root / 'wheels', '--only-binary=:all:',
         '--python-version', version, *(f'--platform={tag}_{arch}' for tag in WHEEL_TAGS),
         '-c', CONSTRAINTS, *WHEELS)


def _run(what, *command):
    """Run a command; that it cannot be done is no fault of ours, but has to be said."""
    try:
        done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise Absent(f'{what}: {command[0]} is not installed here') from None
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith(('E:', 'ERROR'))]
        raise Absent(f'{what}: {(errors or done.stdout.splitlines() or ["failed"])[-1]}')
