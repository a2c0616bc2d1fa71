"""Files that are written whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from mbv2ssd_ros.core.durable import is_replaced, whole_lines, write_json, write_whole


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


def test_a_link_stays_one_and_a_device_is_written_to(tmp_path):
    target, link = tmp_path / 'target', tmp_path / 'link'
    link.symlink_to(target)
    write_whole(link, 'text')
    assert link.is_symlink() and target.read_text() == 'text'
    assert not is_replaced(link) and is_replaced(target) and is_replaced(tmp_path / 'new')
    reader, writer = os.pipe()
    write_whole(Path(f'/proc/self/fd/{writer}'), 'through a pipe')
    assert os.read(reader, 100) == b'through a pipe'
    os.close(reader), os.close(writer)


def test_json_ends_with_a_newline(tmp_path):
    write_json(tmp_path / 'a.json', {'ap': [0.5, None]})
    text = (tmp_path / 'a.json').read_text()
    assert json.loads(text) == {'ap': [0.5, None]} and text.endswith('}\n')


def test_a_torn_last_line_is_not_read(tmp_path):
    path = tmp_path / 'lines'
    assert whole_lines(path) == []
    path.write_bytes(b'one\ntwo\nthr')
    assert whole_lines(path) == [b'one', b'two']
