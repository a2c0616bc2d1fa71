"""Ids survive missed frames, low scores, crossings and jerks, and are never given twice."""

import numpy as np
import pytest

from helpers.moving_scenes import GreedyTracker, id_switches, moving_scene
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.tracking.tracker import Tracker, TrackSettings

MS = 1_000_000


def found(*boxes, scores=None, labels=None):
    count = len(boxes)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4),
                      np.array(scores or [0.9] * count, np.float32),
                      np.array(labels or [1] * count, np.intp))


def box(x, y=100, width=40, height=60):
    return [x, y, x + width, y + height]


def update(tracker, detections, time_ms):
    return tracker.update(detections, detections.scores > 0.35, time_ms * MS).tolist()


def test_an_id_comes_with_the_second_detection_and_stays():
    tracker = Tracker()
    assert [update(tracker, found(box(100 + step)), 100 * step) for step in range(4)] == [
        [0], [1], [1], [1]]


def test_min_hits_of_one_gives_an_id_at_once():
    assert update(Tracker(TrackSettings(min_hits=1)), found(box(0), box(200)), 0) == [1, 2]


def test_what_is_seen_once_never_gets_an_id():
    tracker = Tracker()
    update(tracker, found(box(100)), 0)
    update(tracker, found(), 100)
    assert update(tracker, found(box(100)), 200) == [0]


def test_ids_follow_objects_that_change_places_in_the_message():
    tracker = Tracker(TrackSettings(min_hits=1))
    assert update(tracker, found(box(0), box(300)), 0) == [1, 2]
    assert update(tracker, found(box(302), box(2)), 100) == [2, 1]


def test_another_class_is_another_track():
    tracker = Tracker(TrackSettings(min_hits=1))
    assert update(tracker, found(box(100), labels=[1]), 0) == [1]
    assert update(tracker, found(box(100), labels=[2]), 100) == [2]


def test_a_low_score_prolongs_a_track_and_begins_none():
    tracker = Tracker(TrackSettings(min_hits=1))
    assert update(tracker, found(box(100), box(400), scores=[0.9, 0.2]), 0) == [1, 0]
    assert update(tracker, found(box(102), scores=[0.2]), 100) == [1]


def test_a_moving_object_keeps_its_id_while_it_is_hidden():
    tracker = Tracker()  # 300 pixels a second: far from where it was last seen
    for step in range(10):
        update(tracker, found(box(100 + 30 * step)), 100 * step)
    for step in range(10, 18):
        update(tracker, found(), 100 * step)
    assert update(tracker, found(box(100 + 30 * 18)), 1800) == [1]


def test_time_is_that_of_the_stamps_and_not_the_number_of_frames():
    """Half the frames are lost: the object is where its velocity says."""
    tracker = Tracker()
    for step in (0, 1, 2, 3, 4, 6, 8, 10, 12):
        ids = update(tracker, found(box(100 + 30 * step)), 100 * step)
    assert ids == [1]


def test_a_track_ends_after_its_buffer():
    tracker = Tracker(TrackSettings(buffer_s=0.5, min_hits=1))
    assert update(tracker, found(box(100)), 0) == [1]
    for time_ms in (200, 400, 600):
        update(tracker, found(), time_ms)
    assert update(tracker, found(box(100)), 700) == [2]


@pytest.mark.parametrize('jump_ms', [-5000, -1, 1500])
def test_a_jump_in_time_ends_all_tracks_and_ids_go_on(jump_ms):
    tracker = Tracker(TrackSettings(min_hits=1))
    assert update(tracker, found(box(100)), 10_000) == [1]
    assert update(tracker, found(box(100)), 10_000 + jump_ms) == [2]


def test_a_stamp_that_stands_still_is_no_jump():
    tracker = Tracker(TrackSettings(min_hits=1))
    assert update(tracker, found(box(100)), 500) == [1]
    assert update(tracker, found(box(100)), 500) == [1]


def test_boxes_without_area_are_taken():
    tracker = Tracker(TrackSettings(min_hits=1))
    assert update(tracker, found([5, 5, 5, 5], [9, 9, 9, 30]), 0) == [1, 2]
    update(tracker, found([5, 5, 5, 5]), 100)
    assert np.isfinite(tracker._motion.position).all()


@pytest.mark.parametrize('settings, message', [
    ({'buffer_s': 0.0}, 'track_buffer_s is 0.0'), ({'buffer_s': float('nan')}, 'is nan'),
    ({'min_hits': 0}, 'track_min_hits is 0, expected at least 1')])
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrackSettings(**settings)


def test_ids_switch_a_third_as_often_as_with_greedy_overlap():
    """Crossings, occlusions up to a second, two jerks, one frame of ten lost; 20 scenes."""
    ours = greedy = 0
    for seed in range(20):
        frames = moving_scene(seed)
        for tracker in (Tracker(), GreedyTracker()):
            ids = [tracker.update(frame.detections, frame.is_high, frame.time_ns)
                   for frame in frames]
            if isinstance(tracker, Tracker):
                ours += id_switches(frames, ids)
                given = np.concatenate(ids)
                assert sorted(set(given[given > 0])) == list(range(1, given.max() + 1))
            else:
                greedy += id_switches(frames, ids)
    assert greedy > 400  # the scenes are hard
    assert ours < greedy / 3


@pytest.mark.parametrize('rate_hz', [5, 15, 60])
def test_scenes_of_other_rates(rate_hz):
    frames = moving_scene(3, rate_hz=rate_hz, jerks=0, lost_frames=0)
    tracker = Tracker()
    ids = [tracker.update(frame.detections, frame.is_high, frame.time_ns) for frame in frames]
    assert id_switches(frames, ids) <= 12  # of 8 objects in 12 s, each hidden once
