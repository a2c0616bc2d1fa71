"""Files that are written whole or not at all."""

import pytest

from mbv2ssd_ros.core.durable import write_whole


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / 'a.txt'
    for text in ('one\n', 'zwölf\n'):
        write_whole(path, text)
        assert path.read_text(encoding='utf-8') == text
    assert [file.name for file in tmp_path.iterdir()] == ['a.txt']


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    taken = tmp_path / 'taken'
    taken.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match='taken'):
        write_whole(taken, 'text')
    assert [file.name for file in tmp_path.iterdir()] == ['taken'] and taken.is_dir()
