"""Which frames a rate limit lets through."""

import pytest

from mbv2ssd_ros.rate_limit import RateLimit


def taken(limit_hz, arrivals):
    """Return the indices of the frames that are let through."""
    limit = RateLimit(limit_hz)
    return [index for index, now in enumerate(arrivals) if limit.admits(now)]


def test_zero_lets_everything_through():
    assert taken(0, [0.0, 0.0, 0.001]) == [0, 1, 2]


def test_ten_of_thirty_hertz_is_every_third_frame():
    assert taken(10, [n / 30 for n in range(9)]) == [0, 3, 6]


def test_twenty_of_thirty_hertz_is_two_of_three():
    assert len(taken(20, [n / 30 for n in range(300)])) == pytest.approx(200, abs=1)


def test_a_camera_at_the_limit_loses_nothing_to_jitter():
    jitter = (0.0, 0.003, -0.003, 0.002)
    assert len(taken(10, [n / 10 + jitter[n % 4] for n in range(100)])) == 100


def test_a_pause_is_not_made_up_for_by_a_burst():
    after_pause = [10.0, 10.01, 10.02, 10.03]
    assert taken(10, [0.0, *after_pause]) == [0, 1]
