"""Locks by flock."""

from mbv2ssd_ros.core.file_lock import try_lock


def test_one_at_a_time_or_several_that_share(tmp_path):
    path = tmp_path / 'lock'
    with path.open('w') as first, path.open() as second:
        assert try_lock(first) and not try_lock(second) and not try_lock(second, shared=True)
    with path.open() as first, path.open() as second, path.open() as third:
        assert try_lock(first, shared=True) and try_lock(second, shared=True)
        assert not try_lock(third)
    with path.open() as later:
        assert try_lock(later)
