"""How another processor is imitated, and what is said where it cannot be."""

from emulated import HERE, Machine, MACHINES, python_on
from foreign_root import Absent, foreign_root, made_once
import pytest

BOARD = Machine('board', 'riscv64', 'rv64')


def program(folder, name, script):
    """Write a program of a few lines of sh."""
    path = folder / name
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)


@pytest.fixture
def only(tmp_path, monkeypatch):
    """Return a folder that holds the only programs there are."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache of roots."""
    monkeypatch.setenv('MBV2SSD_MACHINES', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.mark.parametrize('machine', [m for m in MACHINES if m.cpu], ids=lambda m: m.name)
def test_without_qemu_a_machine_is_absent(machine, only):
    with pytest.raises(Absent, match=f'qemu-{machine.arch} is not installed'):
        python_on(machine)


def test_an_architecture_that_debian_does_not_have_is_absent(only, cache):
    program(only, 'qemu-riscv64', 'exit 0')
    with pytest.raises(Absent, match='riscv64: its name in Debian is not known here'):
        python_on(BOARD)


def test_without_apt_a_root_is_absent(only, cache):
    with pytest.raises(Absent, match='lists of packages: apt-get is not installed here'):
        foreign_root('aarch64')


def test_a_package_that_apt_does_not_find_is_named_and_nothing_is_left(only, cache):
    program(only, 'apt-get', 'echo "E: Unable to locate package python3"; '
                             'case "$*" in *update) exit 0;; *) exit 100;; esac')
    with pytest.raises(Absent, match='packages for arm64: E: Unable to locate package python3'):
        foreign_root('aarch64')
    assert list(cache.iterdir()) == []


def test_a_root_is_made_once(tmp_path):
    def make(folder):
        folder.mkdir()
        made.append(folder)

    made, wanted = [], tmp_path / 'cache' / 'root'
    assert made_once(wanted, make) == made_once(wanted, make) == wanted
    assert len(made) == 1 and list(wanted.parent.iterdir()) == [wanted]


def test_variables_that_suit_this_processor_do_not_reach_another(monkeypatch):
    monkeypatch.setenv('OPENBLAS_CORETYPE', 'SkylakeX')
    assert 'OPENBLAS_CORETYPE' not in python_on(HERE)[1]
