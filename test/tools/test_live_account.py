"""The account of a live run, on counts made up here; cameras made of topics."""

import pytest

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.frames import DROP_REASONS
from mbv2ssd_ros.tools.live.account import CameraOutcome, NodeCounts, table
from mbv2ssd_ros.tools.live.cameras import BagCamera, camera_name, node_parameters

VALUES = {'received': '9', 'published': '5', 'in_flight': '1',
          **{f'dropped.{reason}': '0' for reason in DROP_REASONS},
          'dropped.skipped': '2', 'dropped.undecodable': '1', 'input_rate_hz': '10.0'}


def outcome(**changes):
    """Make one: 10 sent, 1 lost, 9 received, 3 dropped, 1 in flight, 5 published, 4 came."""
    return CameraOutcome(**{
        'name': 'front', 'image_topic': '/front/image_raw', 'detections_topic': '/front/found',
        'sent': 10, 'counts': NodeCounts.from_values(VALUES), 'arrived': 4, 'latency_ms': None,
        **changes})


def test_books_are_read_with_the_reasons_that_happened():
    assert NodeCounts.from_values(VALUES) == NodeCounts(9, 5, 1, {'skipped': 2, 'undecodable': 1})


@pytest.mark.parametrize(('changes', 'message'), [
    ({'published': '6'}, 'do not add up: .*received=9, published=6'),
    ({'received': 'many'}, 'no usable figure .*many')])
def test_books_that_do_not_add_up_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        NodeCounts.from_values({**VALUES, **changes})


def test_a_missing_figure_is_named():
    without = {key: value for key, value in VALUES.items() if key != 'dropped.stale'}
    with pytest.raises(DataError, match=r"no usable figure \('dropped.stale'\)"):
        NodeCounts.from_values(without)


def test_every_image_that_was_sent_is_somewhere():
    found = outcome()
    counts = found.counts
    assert (found.lost_before_node, found.lost_after_node) == (1, 1)
    assert found.sent == found.lost_before_node + sum(counts.dropped.values()) + (
        counts.in_flight) + found.lost_after_node + found.arrived
    assert found.answered == 0.4


def test_nothing_sent_is_nothing_unanswered():
    assert outcome(sent=0, arrived=0, counts=NodeCounts(0, 0, 0, {})).answered == 1.0


def test_the_table_has_a_row_for_each_camera_and_names_reasons_and_latency():
    text = table([outcome(latency_ms={'p50': 4.25, 'p95': 9.0}),
                  outcome(name='r', counts=NodeCounts(10, 10, 0, {}), arrived=10)])
    lines = text.splitlines()
    assert lines[1].split() == ['front', '10', '1', '9', '3', '5', '1', '4', '40.0', '%']
    assert lines[2].split() == ['r', '10', '0', '10', '0', '10', '0', '10', '100.0', '%']
    assert lines[3] == 'front: dropped 2 skipped, 1 undecodable'
    assert lines[4].endswith('ms: p50 4.2, p95 9.0') and len(lines) == 5


@pytest.mark.parametrize(('topic', 'expected'), [
    ('/front/image_raw', 'front'), ('/front/image_raw/compressed', 'front'),
    ('/robot/left/color/image_raw', 'robot_left'), ('/camera', 'camera'),
    ('/2/image', 'camera_2'), ('/image_raw', 'camera')])
def test_cameras_are_named_after_their_topics(topic, expected):
    assert camera_name(topic) == expected


def test_cameras_are_written_as_parameters():
    cameras = [BagCamera('a', '/a/image', 'raw', 3), BagCamera('b', '/b/c', 'compressed', 3)]
    assert node_parameters(cameras) == {
        'cameras': ['a', 'b'], 'a.image_topic': '/a/image', 'a.transport': 'raw',
        'b.image_topic': '/b/c', 'b.transport': 'compressed'}
