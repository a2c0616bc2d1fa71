"""Every frame is received once and ends once."""

import pytest

from mbv2ssd_ros.frames import CameraAccount, REPLACED, SKIPPED, STALE


def test_books_balance_with_one_frame_in_every_state():
    account = CameraAccount()
    published, replaced, stale, waiting = (account.receive(0, 'image') for _ in range(4))
    waiting.enter()
    published.publish()
    replaced.drop(REPLACED)
    stale.drop(STALE)
    books = account.books()
    assert (books.received, books.published, books.in_flight) == (4, 1, 1)
    assert {reason: count for reason, count in books.dropped.items() if count} == {
        REPLACED: 1, STALE: 1}


def test_a_frame_counts_from_when_it_waits():
    account = CameraAccount()
    frame = account.receive(0, 'image')
    assert account.books().received == 0
    frame.enter()
    assert (account.books().received, account.books().in_flight) == (1, 1)
    frame.publish()
    assert (account.books().received, account.books().in_flight) == (1, 0)


def test_a_frame_takes_the_place_of_the_one_that_waited():
    account = CameraAccount()
    old, new = (account.receive(0, 'image') for _ in range(2))
    old.enter()
    new.enter(in_place_of=old)
    books = account.books()
    assert (books.received, books.dropped[REPLACED], books.in_flight) == (2, 1, 1)
    with pytest.raises(AssertionError, match='ends twice'):
        old.publish()


def test_a_frame_cannot_be_entered_twice():
    frame = CameraAccount().receive(3, 'image')
    frame.enter()
    with pytest.raises(AssertionError, match='camera 3 is entered twice'):
        frame.enter()


def test_a_frame_cannot_end_twice():
    frame = CameraAccount().receive(3, 'image')
    frame.publish()
    with pytest.raises(AssertionError, match='camera 3 ends twice'):
        frame.drop(STALE)


def test_a_drop_needs_a_known_reason():
    frame = CameraAccount().receive(0, 'image')
    with pytest.raises(AssertionError, match='bad luck'):
        frame.drop('bad luck')


def test_skipped_frames_were_received_and_dropped():
    account = CameraAccount()
    account.receive(0, 'image').publish()
    account.skip(3)
    books = account.books()
    assert (books.received, books.published, books.dropped[SKIPPED], books.in_flight) == (
        4, 1, 3, 0)
