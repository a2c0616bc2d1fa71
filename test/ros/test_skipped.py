"""Images that a camera sent and the node never saw, from the numbers of its messages."""

from types import SimpleNamespace

from mbv2ssd_ros.frames import FrameCounters, SKIPPED
from mbv2ssd_ros.ros.camera import Camera


def skipped(*messages):
    """Count what a camera misses that sees messages of these (number, publishers there are)."""
    camera = Camera.__new__(Camera)
    camera.counters, camera._last_number, camera._alone = FrameCounters(), None, True
    for number, publishers in messages:
        camera._subscription = SimpleNamespace(get_publisher_count=lambda count=publishers: count)
        camera._count_skipped(number)
    return camera.counters.counts().dropped[SKIPPED]


def test_a_gap_is_what_was_skipped():
    assert skipped((5, 1), (6, 1), (9, 1), (10, 1)) == 2


def test_a_camera_that_starts_anew_has_skipped_nothing():
    assert skipped((5, 1), (1, 1), (2, 1)) == 0


def test_the_numbers_of_two_publishers_are_no_gap():
    assert skipped((5, 2), (900, 2), (6, 2)) == 0


def test_a_publisher_that_stays_when_another_has_gone_has_skipped_nothing():
    # the other one sent 5 and 6 last; the next gap is its own again
    assert skipped((900, 2), (5, 2), (6, 2), (901, 1), (902, 1), (905, 1)) == 2


def test_where_the_middleware_does_not_tell_nothing_is_skipped():
    assert skipped((None, 1), (7, 1), (None, 1), (9, 1)) == 0
