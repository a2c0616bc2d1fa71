"""The suite knows how much of the machine it gets."""

import os

import pytest

from helpers.crowding import cores, crowding


@pytest.mark.parametrize(('content', 'expected'), [
    ('max 100000', 4), ('200000 100000', 2), ('50000 100000', 1), ('900000 100000', 4)])
def test_a_container_may_have_a_share_of_the_cores(tmp_path, monkeypatch, content, expected):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2, 3})
    (tmp_path / 'cpu.max').write_text(content + '\n')
    assert cores(tmp_path / 'cpu.max') == expected


def test_without_control_groups_all_cores_count(tmp_path):
    assert cores(tmp_path / 'absent') == len(os.sched_getaffinity(0))


def test_nothing_takes_less_than_its_time():
    assert crowding(0.01) >= 0.99
