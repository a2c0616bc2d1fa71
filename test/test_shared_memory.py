"""The guard of conftest.py knows whose shared memory files are left behind."""

from pathlib import Path

import pytest

from helpers import shared_memory


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, 'FOLDER', tmp_path)
    return tmp_path


def test_file_that_nobody_has_open_is_stale(folder):
    left = folder / 'fastrtps_2dc404f2fefdd75e'
    left.touch()
    (folder / 'somebody_elses').touch()
    assert shared_memory.stale_files() == [left]


def test_segment_is_in_use_while_its_lock_is_open(folder):
    (folder / 'fastrtps_2dc404f2fefdd75e').touch()
    with (folder / 'fastrtps_2dc404f2fefdd75e_el').open('w'):
        assert shared_memory.stale_files() == []
    assert len(shared_memory.stale_files()) == 2


def test_fresh_files_are_not_removed(folder):
    (folder / 'fastrtps_port7412').touch()
    shared_memory.remove_stale_files()
    assert (folder / 'fastrtps_port7412').exists()


@pytest.mark.parametrize(('name', 'domain_id', 'expected'), [
    ('fastrtps_port7400', 0, True),
    ('fastdds_port7400', 0, True),
    ('fastrtps_port7650', 0, False),
    ('fastrtps_port7650_el', 1, True),
    ('sem.fastrtps_port26661_mutex', 77, True),
    ('fastrtps_port26661', 78, False),
    ('fastrtps_7400', 0, False),
])
def test_port_tells_the_domain(name, domain_id, expected):
    assert shared_memory.belongs_to_domain(Path('/dev/shm') / name, domain_id) is expected
