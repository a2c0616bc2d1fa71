"""A folder that only its owner may change."""

import os
import stat

import pytest

from mbv2ssd_ros.backends.trt.private_folder import (
    cache_folder,
    open_private_folder,
    read_private_file,
)
from mbv2ssd_ros.core.errors import BackendError


def mode(path):
    """Return the permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_for_its_owner_alone_and_so_are_its_new_parents(tmp_path):
    folder = tmp_path / 'cache' / 'engines'
    before = os.umask(0)  # even where new files are for everybody
    try:
        assert open_private_folder(folder)
    finally:
        os.umask(before)
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)


@pytest.mark.parametrize('bits', [0o700, 0o750, 0o755, 0o711])
def test_a_folder_that_others_can_only_read_is_used_as_it_is(tmp_path, bits):
    tmp_path.chmod(bits)
    assert open_private_folder(tmp_path)
    assert mode(tmp_path) == bits


@pytest.mark.parametrize('bits', [0o770, 0o707, 0o777, 0o720, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, bits):
    tmp_path.chmod(bits)
    with pytest.raises(BackendError, match=(
            rf'engine_cache_dir {tmp_path} can be written by others \(mode {bits:04o}\).*'
            rf'chmod 700 {tmp_path}')):
        open_private_folder(tmp_path)


def test_a_folder_that_others_could_replace_is_refused(tmp_path):
    parent = tmp_path / 'open'
    parent.mkdir()
    (parent / 'engines').mkdir(mode=0o700)
    parent.chmod(0o777)
    with pytest.raises(BackendError, match=rf'lies in {parent}, where another user could replace'):
        open_private_folder(parent / 'engines')
    parent.chmod(0o1777)  # sticky, as /tmp
    assert open_private_folder(parent / 'engines')


def test_a_link_is_judged_by_what_it_leads_to(tmp_path):
    target = tmp_path / 'target'
    target.mkdir()
    target.chmod(0o777)
    (tmp_path / 'link').symlink_to(target)
    with pytest.raises(BackendError, match='can be written by others'):
        open_private_folder(tmp_path / 'link')


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    folder = tmp_path / 'theirs'
    folder.mkdir(mode=0o700)
    if os.geteuid():
        pytest.skip('only root can give a folder away')
    os.chown(folder, 12345, -1)
    with pytest.raises(BackendError, match=rf'{folder} belongs to user 12345, expected'):
        open_private_folder(folder)


@pytest.mark.parametrize('below', ['', '/deeper'])
def test_a_file_in_the_way_is_named(tmp_path, below):
    (tmp_path / 'file').touch()
    with pytest.raises(BackendError, match=f'engine_cache_dir {tmp_path}/file{below} '):
        open_private_folder(tmp_path / f'file{below}')


def test_without_a_parameter_the_cache_of_the_user_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder('') == tmp_path / 'mbv2ssd'
    monkeypatch.setenv('HOME', '/home/robot')
    for unusable in ('', 'relative/path'):  # the specification says to ignore those
        monkeypatch.setenv('XDG_CACHE_HOME', unusable)
        assert str(cache_folder('')) == '/home/robot/.cache/mbv2ssd'
    assert str(cache_folder('~/engines')) == '/home/robot/engines'


def test_a_user_without_home_is_told_to_name_a_folder(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    with pytest.raises(BackendError, match="'~nobody_of_this_name/engines' cannot be found: .*the "
                                           'parameter to a folder by its full path'):
        cache_folder('~nobody_of_this_name/engines')
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.setattr(os, 'getuid', lambda: 987654)  # nobody's
    with pytest.raises(BackendError, match="'~/.cache' cannot be found"):
        cache_folder('')


def test_a_file_is_read_when_only_its_owner_can_write_it(tmp_path):
    path = tmp_path / 'engine'
    path.write_bytes(b'plan')
    path.chmod(0o644)
    assert read_private_file(path) == b'plan'
    path.chmod(0o664)
    with pytest.raises(BackendError, match=f'{path} is not a file that only its owner'):
        read_private_file(path)


def test_neither_a_link_nor_a_pipe_nor_a_folder_is_read(tmp_path):
    (tmp_path / 'target').write_bytes(b'plan')
    (tmp_path / 'link').symlink_to(tmp_path / 'target')
    os.mkfifo(tmp_path / 'pipe', 0o600)  # would wait for ever for a writer
    (tmp_path / 'folder').mkdir(0o700)
    for name in ('link', 'pipe', 'folder'):
        with pytest.raises((OSError, BackendError)):
            read_private_file(tmp_path / name)
