"""Frames and annotations find each other by stamp, one to one."""

import numpy as np
import pytest

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags.frame_names import frame_name, FrameKey, parse_name, topic_part
from mbv2ssd_ros.evaluation.truth.pairing import pair_by_index, pair_by_stamp

FRONT, REAR = '/front/image_raw', '/rear/image_raw'


@pytest.mark.parametrize(('first', 'second', 'tolerance', 'pairs'), [
    ([10, 20, 30], [10, 20, 30], 0, ((0, 0), (1, 1), (2, 2))),
    ([10, 20, 30], [30, 10], 0, ((0, 1), (2, 0))),  # in any order
    ([10, 20], [12, 26], 3, ((0, 0),)),
    ([10, 20], [13, 26], 3, ((0, 0),)),  # the tolerance is inclusive
    ([10, 20], [14, 26], 3, ()),
    ([10, 12], [11], 5, ((0, 0),)),  # of two equally near the earlier one
    ([11], [10, 12], 5, ((0, 0),)),
    ([10, 12], [12], 5, ((1, 0),)),  # the nearer one, though the other is within reach
    ([10, 10], [10, 10], 0, ((0, 0), (1, 1))),  # equal stamps by their order
    ([10, 10], [10], 0, ((0, 0),)),
    ([], [10], 5, ()), ([10], [], 5, ()), ([], [], 5, ()),
    ([1_700_000_000_000_000_001], [1_700_000_000_000_000_000], 0, ()),  # beyond float64
])
def test_pairs_by_stamp(first, second, tolerance, pairs):
    found = pair_by_stamp(first, second, tolerance)
    assert found.pairs == pairs
    assert sorted({a for a, _ in pairs} | {*found.unpaired_first}) == [*range(len(first))]
    assert sorted({b for _, b in pairs} | {*found.unpaired_second}) == [*range(len(second))]


@pytest.mark.parametrize('seed', range(20))
def test_a_slow_search_finds_the_same_pairs(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.choice(60, int(rng.integers(1, 12)), replace=False).tolist()
                     for _ in range(2))

    def nearest(stamp, among):
        return min(range(len(among)), key=lambda k: (abs(among[k] - stamp), among[k]))

    expected = tuple(
        (a, nearest(first[a], second)) for a in range(len(first))
        if nearest(second[nearest(first[a], second)], first) == a
        and abs(second[nearest(first[a], second)] - first[a]) <= 4)
    assert pair_by_stamp(first, second, 4).pairs == expected


def test_pairs_by_number():
    found = pair_by_index([0, 1, 2], [2, 0, 7])
    assert found.pairs == ((0, 1), (2, 0))
    assert (found.unpaired_first, found.unpaired_second) == ((1,), (2,))


@pytest.mark.parametrize(('name', 'key'), [
    ('front__image_raw-1700000000_123456789.jpg', (FRONT, 1_700_000_000_123_456_789, None)),
    ('1700000000.123456789.png', (None, 1_700_000_000_123_456_789, None)),
    ('1700000000_000000001.xml', (None, 1_700_000_000_000_000_001, None)),
    ('1700000000123456789.JPG', (None, 1_700_000_000_123_456_789, None)),
    ('images/front__image_raw/1700000000.123456789.jpg',
     (FRONT, 1_700_000_000_123_456_789, None)),
    (r'images\rear__image_raw\7.jpg', (REAR, None, 7)),
    ('frame_000042.jpg', (None, None, 42)), ('frame42', (None, None, 42)),
    ('000042.xml', (None, None, 42)), ('0', (None, None, 0)),
    ('rear__image_raw-3.jpg', (REAR, None, 3)),
    ('holiday-3.jpg', (None, None, 3)),  # no topic of this bag
])
def test_a_file_name_says_which_frame_it_means(name, key):
    assert parse_name(name, [FRONT, REAR]) == FrameKey(*key)


@pytest.mark.parametrize('name', ['dog.jpg', '1700000000.5.jpg', '', '12_34', 'a/'])
def test_a_name_that_means_no_frame_is_refused(name):
    with pytest.raises(DataError, match='names no frame; expected TOPIC-SEC_NANOSEC'):
        parse_name(name, [FRONT])


@pytest.mark.parametrize('stamp_ns', [0, 5, 1_700_000_000_000_000_001, 2 ** 62])
def test_a_name_that_we_give_leads_back(stamp_ns):
    name = frame_name(REAR, stamp_ns)
    assert parse_name(f'{name}.jpg', [FRONT, REAR]) == FrameKey(REAR, stamp_ns, None)
    assert topic_part(REAR) == 'rear__image_raw'
