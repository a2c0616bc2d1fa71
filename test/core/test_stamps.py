"""Stamps of messages, in nanoseconds and as text."""

from types import SimpleNamespace

from mbv2ssd_ros.core.stamps import join_stamp, split_stamp, stamp_ns, stamp_text

STAMP_NS = 1_700_000_000_000_000_042


def test_the_nanoseconds_of_a_header():
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1_700_000_000, nanosec=42))
    assert stamp_ns(header) == STAMP_NS


def test_a_stamp_is_split_and_joined():
    assert split_stamp(STAMP_NS) == (1_700_000_000, 42)
    assert join_stamp(1_700_000_000, 42) == STAMP_NS
    assert split_stamp(-1) == (-1, 999_999_999)  # as ROS counts before 1970


def test_the_text_has_all_nine_digits():
    assert stamp_text(STAMP_NS) == '1700000000.000000042'
    assert stamp_text(STAMP_NS, '_') == '1700000000_000000042'
