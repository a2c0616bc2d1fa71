"""Every frame is received once and ends once."""

import pytest

from mbv2ssd_ros.frames import FrameCounters, REPLACED, SKIPPED, STALE


def test_books_balance_with_one_frame_in_every_state():
    counters = FrameCounters()
    published, replaced, stale, waiting = (counters.receive(0, 'image') for _ in range(4))
    waiting.enter()
    published.publish()
    replaced.drop(REPLACED)
    stale.drop(STALE)
    counts = counters.counts()
    assert (counts.received, counts.published, counts.in_flight) == (4, 1, 1)
    assert {reason: count for reason, count in counts.dropped.items() if count} == {
        REPLACED: 1, STALE: 1}


def test_a_frame_counts_from_when_it_waits():
    counters = FrameCounters()
    frame = counters.receive(0, 'image')
    assert counters.counts().received == 0
    frame.enter()
    assert (counters.counts().received, counters.counts().in_flight) == (1, 1)
    frame.publish()
    assert (counters.counts().received, counters.counts().in_flight) == (1, 0)


def test_a_frame_takes_the_place_of_the_one_that_waited():
    counters = FrameCounters()
    old, new = (counters.receive(0, 'image') for _ in range(2))
    old.enter()
    new.enter(in_place_of=old)
    counts = counters.counts()
    assert (counts.received, counts.dropped[REPLACED], counts.in_flight) == (2, 1, 1)
    with pytest.raises(AssertionError, match='ends twice'):
        old.publish()


def test_a_frame_cannot_be_entered_twice():
    frame = FrameCounters().receive(3, 'image')
    frame.enter()
    with pytest.raises(AssertionError, match='camera 3 is entered twice'):
        frame.enter()


def test_a_frame_cannot_end_twice():
    frame = FrameCounters().receive(3, 'image')
    frame.publish()
    with pytest.raises(AssertionError, match='camera 3 ends twice'):
        frame.drop(STALE)


def test_a_drop_needs_a_known_reason():
    frame = FrameCounters().receive(0, 'image')
    with pytest.raises(AssertionError, match='bad luck'):
        frame.drop('bad luck')


def test_skipped_frames_were_received_and_dropped():
    counters = FrameCounters()
    counters.receive(0, 'image').publish()
    counters.skip(3)
    counts = counters.counts()
    assert (counts.received, counts.published, counts.dropped[SKIPPED], counts.in_flight) == (
        4, 1, 3, 0)
