"""Percentiles of stage times."""

import math

from mbv2ssd_ros.latency import LatencyWindow


def test_percentiles_of_one_to_a_hundred_and_one():
    window = LatencyWindow(['infer'])
    for value in range(1, 102):
        window.add([value])
    infer = window.take()['infer']
    assert (infer.p50_ms, infer.p95_ms, infer.p99_ms) == (51, 96, 100)


def test_each_stage_has_its_own_column():
    window = LatencyWindow(['wait', 'infer'])
    window.add([1, 20])
    spread = window.take()
    assert (spread['wait'].p50_ms, spread['infer'].p50_ms) == (1, 20)


def test_taking_starts_a_new_period():
    window = LatencyWindow(['infer'])
    window.add([5])
    window.take()
    assert window.take() == {}


def test_a_stage_without_a_time_is_left_out():
    window = LatencyWindow(['age', 'infer'])
    window.add([math.nan, 3])
    assert list(window.take()) == ['infer']


def test_memory_is_bounded_in_a_period():
    window = LatencyWindow(['infer'], max_frames=2)
    for value in (1, 1, 100):
        window.add([value])
    assert window.take()['infer'].p99_ms == 1
