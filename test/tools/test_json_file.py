"""Where a program may write its figures."""

import json

import pytest

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.tools.cli.json_file import check_writable, json_lines, write_json


def test_figures_are_written_as_they_are(tmp_path):
    check_writable(tmp_path / 'x.json')
    write_json(tmp_path / 'x.json', {'p50': 1.5})
    assert json.loads((tmp_path / 'x.json').read_text()) == {'p50': 1.5}


def test_nothing_is_written_where_nothing_was_asked_for():
    check_writable(None)
    write_json(None, {})


def test_what_cannot_be_written_is_named_before_and_after(tmp_path):
    with pytest.raises(ConfigError, match=r'--plot .*: cannot be written: it is a folder'):
        check_writable(tmp_path, '--plot')
    with pytest.raises(ConfigError, match=r'--json .*/no/x\.json: .*: the folder .*/no does not'):
        check_writable(tmp_path / 'no' / 'x.json')
    with pytest.raises(ConfigError, match=r'--json .*/no/x\.json: .*: No such file'):
        write_json(tmp_path / 'no' / 'x.json', {})


def test_lines_are_written_one_by_one_or_nowhere(tmp_path):
    with json_lines(tmp_path / 'x.jsonl') as record:
        record(stamp_ns=1, name='a')
        assert (tmp_path / 'x.jsonl').read_text() == '{"stamp_ns": 1, "name": "a"}\n'
        record(stamp_ns=2, name='b')
    assert len((tmp_path / 'x.jsonl').read_text().splitlines()) == 2
    with json_lines(None) as record:
        record(stamp_ns=3)


def test_a_record_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match='--record .*: cannot be written'), json_lines(tmp_path):
        pass
