"""What no living process uses is removed from shared memory, and nothing else."""

from contextlib import contextmanager, nullcontext
import ctypes
import fcntl
import mmap
import os
import signal
import subprocess
import sys

import pytest

from mbv2ssd_ros.ros import shared_memory
from mbv2ssd_ros.ros.shared_memory import remove_unused

SEGMENT, PORT = 'fastrtps_2dc404f2fefdd75e', 'fastrtps_port7411'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Take a folder for /dev/shm, whose semaphores are free."""
    monkeypatch.setattr(shared_memory, 'FOLDER', tmp_path)
    monkeypatch.setattr(shared_memory, '_semaphore', lambda name: nullcontext())
    return tmp_path


def leave(folder, *names):
    for name in names:
        (folder / name).write_bytes(bytes(mmap.PAGESIZE))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def locked(path, how):
    """Hold a lock as the owner does."""
    with path.open() as lock:
        fcntl.flock(lock, how)
        yield


@contextmanager
def mapped_by_another_process(path):
    """Map a file as every user does, without a lock and without keeping it open."""
    script = f'''
import mmap
with open({str(path)!r}, 'r+b') as file:
    mapped = mmap.mmap(file.fileno(), 0)
print('mapped', flush=True)
input()
'''
    with subprocess.Popen([sys.executable, '-c', script], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_all_files_of_the_dead_are_removed(folder):
    leave(folder, SEGMENT, f'{SEGMENT}_el', PORT, f'{PORT}_sl', f'sem.{PORT}_mutex',
          'fastdds_port7413', 'fastdds_port7413_el', 'sem.fastdds_port7413_mutex',
          'fastrtps_port7415', 'fastrtps_27adcb5c069073c2_el')
    remove_unused()
    assert names(folder) == []


@pytest.mark.parametrize('name', [SEGMENT, PORT])
@pytest.mark.parametrize(('lock', 'how'), [('_el', fcntl.LOCK_EX), ('_sl', fcntl.LOCK_SH)])
def test_what_has_an_owner_stays(folder, name, lock, how):
    leave(folder, name, f'{name}{lock}')
    with locked(folder / f'{name}{lock}', how):
        remove_unused()
        assert names(folder) == [name, f'{name}{lock}']
    remove_unused()
    assert names(folder) == []


@pytest.mark.parametrize('files', [[PORT], [PORT, f'{PORT}_el'], [SEGMENT]])
def test_what_a_process_has_mapped_stays_until_it_is_killed(folder, files):
    leave(folder, *files)
    with mapped_by_another_process(folder / files[0]) as process:
        remove_unused()
        assert names(folder) == files
        process.send_signal(signal.SIGKILL)
    remove_unused()
    assert names(folder) == []


def test_a_segment_of_the_dead_is_of_no_use_to_those_who_have_it_mapped(folder):
    leave(folder, SEGMENT, f'{SEGMENT}_el')
    with mapped_by_another_process(folder / SEGMENT):
        remove_unused()
    assert names(folder) == []


def test_a_port_that_is_being_opened_stays(folder, monkeypatch):
    def busy(name):
        assert name == f'{PORT}_mutex'
        raise BlockingIOError
    monkeypatch.setattr(shared_memory, '_semaphore', busy)
    leave(folder, PORT, f'{PORT}_el', f'sem.{PORT}_mutex')
    remove_unused()
    assert names(folder) == [PORT, f'{PORT}_el', f'sem.{PORT}_mutex']


def test_other_peoples_files_stay(folder):
    others = ['fast_el', 'fastrtps_2dc4_backup_el', 'fastrtps_el', 'fastrtps_port_el', 'notes',
              'sem.breakfast_el']
    leave(folder, *others)
    remove_unused()
    assert names(folder) == others


def test_without_the_folder_there_is_nothing_to_do(folder, monkeypatch):
    monkeypatch.setattr(shared_memory, 'FOLDER', folder / 'absent')
    remove_unused()


def test_a_semaphore_is_held_by_one_at_a_time():
    name, libc = f'mbv2ssd_test_{os.getpid()}', ctypes.CDLL(None)
    libc.sem_open.restype = ctypes.c_void_p
    assert libc.sem_open(f'/{name}'.encode(), os.O_CREAT | os.O_EXCL, 0o600, 1)
    try:
        for _ in range(2):  # it is given back
            with shared_memory._semaphore(name):
                with pytest.raises(BlockingIOError), shared_memory._semaphore(name):
                    pytest.fail('held twice')
    finally:
        libc.sem_unlink(f'/{name}'.encode())
    with pytest.raises(FileNotFoundError), shared_memory._semaphore(name):
        pytest.fail('held although there is none')
