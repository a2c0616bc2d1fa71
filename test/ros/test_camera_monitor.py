"""The verdict on a camera, from its frame counters."""

from types import SimpleNamespace

import pytest

from mbv2ssd_ros.frames import (
    DROP_REASONS,
    FrameCounters,
    FrameCounts,
    REPLACED,
    STALE,
)
from mbv2ssd_ros.latency import LatencyWindow
from mbv2ssd_ros.ros.camera import STAGES
from mbv2ssd_ros.ros.camera_monitor import (
    CameraMonitor,
    ERROR,
    judge_drops,
    judge_skips,
    OK,
    WARN,
)


def counts(received=0, published=0, **dropped):
    """Make counts with drops for some reasons."""
    return FrameCounts(received, published, {**dict.fromkeys(DROP_REASONS, 0), **dropped})


def camera(**attributes):
    """Make what the monitor looks at, without ROS."""
    return SimpleNamespace(**{
        'params': SimpleNamespace(name='front'), 'counters': FrameCounters(),
        'latency': LatencyWindow(STAGES), 'last_arrival': None, 'last_error': '', 'ahead_ms': 0.0,
        'paused': '', 'last_stamp': None, 'stamps_not_increasing': 0, **attributes})


def test_drops_by_policy_are_no_fault():
    after = counts(90, 30, replaced=40, rate_limited=20)
    assert judge_drops(counts(), after, '') == (OK, '')


def test_some_faults_are_a_warning_with_counts_and_reason():
    level, reason = judge_drops(counts(), counts(5, 3, undecodable=2), 'truncated')
    assert level == WARN
    assert reason == '2 images dropped (2 undecodable); the last: truncated'


def test_only_faults_are_an_error():
    level, reason = judge_drops(counts(), counts(3, 0, stale=1, undecodable=2), 'old')
    assert level == ERROR
    assert reason == 'every image was dropped (1 stale, 2 undecodable); the last: old'


def test_faults_of_an_earlier_period_are_forgotten():
    before = counts(3, 0, undecodable=3)
    assert judge_drops(before, counts(6, 3, undecodable=3), 'truncated') == (OK, '')


def test_images_lost_while_there_was_time_are_a_warning():
    level, reason = judge_skips(counts(), counts(30, 20, skipped=10), slowest_frame=1 / 40)
    assert level == WARN
    assert reason.startswith('10 of 30 images were lost on the way')


def test_images_skipped_for_want_of_time_are_the_policy():
    assert judge_skips(counts(), counts(30, 20, skipped=10), slowest_frame=1 / 20) == (OK, '')


def test_rates_are_counted_in_the_period():
    front = camera(last_arrival=12.0)
    monitor = CameraMonitor(front, 10.0, lambda: '')
    for _ in range(6):
        front.counters.receive(0, 'image').publish()
    front.counters.receive(0, 'image').drop(STALE)
    report = monitor.report(12.0, silence_timeout_s=1.0)
    assert (report.input_rate_hz, report.output_rate_hz) == (3.5, 3.0)
    assert monitor.report(13.0, silence_timeout_s=2.0).input_rate_hz == 0.0


def test_silence_is_counted_from_the_opening_before_the_first_image():
    monitor = CameraMonitor(camera(), 10.0, lambda: 'no publisher')
    assert monitor.report(11.0, silence_timeout_s=2.0).level == OK
    report = monitor.report(13.0, silence_timeout_s=2.0)
    assert (report.level, report.silent) == (ERROR, True)
    assert report.reason == 'no image for 3 s: no publisher'


def test_a_slow_camera_is_told_from_a_silent_one():
    front = camera()
    monitor = CameraMonitor(front, 10.0, lambda: 'no publisher')
    for arrival in (11.0, 16.0):
        front.last_arrival = arrival
        front.counters.receive(0, 'image').publish()
        monitor.report(arrival, silence_timeout_s=2.0)
    slow = monitor.report(20.0, silence_timeout_s=2.0)
    assert (slow.level, slow.silent) == (WARN, False)
    assert slow.reason.startswith('a slow camera: an image every 5 s, silence_timeout_s is 2')
    gone = monitor.report(26.5, silence_timeout_s=2.0)
    assert (gone.level, gone.silent) == (ERROR, True)


def test_several_publishers_are_a_warning():
    monitor = CameraMonitor(camera(last_arrival=10.5), 10.0, str, lambda: '2 nodes publish')
    report = monitor.report(11.0, silence_timeout_s=2.0)
    assert (report.level, report.reason) == (WARN, '2 nodes publish')


def test_nobody_asks_why_while_images_come():
    monitor = CameraMonitor(camera(last_arrival=10.5), 10.0, lambda: pytest.fail('asked'))
    assert not monitor.report(11.0, silence_timeout_s=2.0).silent


def test_an_image_without_an_answer_is_an_error_of_the_engine_and_no_silence():
    front = camera(last_arrival=10.5)
    monitor = CameraMonitor(front, 10.0, lambda: pytest.fail('asked'))
    frame = front.counters.receive(0, 'image')
    frame.enter()
    assert monitor.report(11.0, silence_timeout_s=2.0).level == OK
    report = monitor.report(13.0, silence_timeout_s=2.0)
    assert (report.level, report.stuck, report.silent) == (ERROR, True, False)
    assert report.reason.startswith('no image was answered for 3 s: the inference engine hangs')
    frame.publish()
    assert not monitor.report(14.0, silence_timeout_s=5.0).stuck


def test_replacing_images_that_wait_is_no_answer():
    front = camera(last_arrival=13.0)
    monitor = CameraMonitor(front, 10.0, lambda: pytest.fail('asked'))
    front.counters.receive(0, 'under way').enter()
    for now in (11.0, 12.0, 13.0):
        front.counters.receive(0, 'image').drop(REPLACED)
        report = monitor.report(now, silence_timeout_s=2.0)
    assert (report.level, report.stuck) == (ERROR, True)


def test_a_slow_engine_that_answers_in_time_is_not_stuck():
    front = camera(last_arrival=13.0)
    monitor = CameraMonitor(front, 10.0, lambda: pytest.fail('asked'))
    front.counters.receive(0, 'always one under way').enter()
    for now in (11.0, 12.0, 13.0):
        front.counters.receive(0, 'image').publish()
        assert not monitor.report(now, silence_timeout_s=2.0).stuck


def test_the_log_says_what_is_stuck():
    from mbv2ssd_ros.ros.pipeline import Pipeline
    said = []
    report = SimpleNamespace(name='front', stuck=True, silent=False, reason='the engine hangs')
    pipeline = SimpleNamespace(
        live=SimpleNamespace(silence_timeout_s=2.0), _silent={},
        _monitors=[SimpleNamespace(report=lambda now, timeout_s, stopped: report)],
        _clock_stopped=lambda: '',
        _warn=lambda kind, message: said.append(message))
    assert Pipeline.report(pipeline) == (report,)
    assert said == ['front: the engine hangs']


@pytest.mark.parametrize(('reason', 'logged'), [
    ('max_age_ms has no effect: stamps lie 60 ms in the future', 1),
    ('1 images dropped (1 stale); the last: image is 9 ms old, max_age_ms is 5', 0)])
def test_the_log_says_when_ages_have_no_effect(reason, logged):
    from mbv2ssd_ros.ros.pipeline import Pipeline
    said = []
    report = SimpleNamespace(name='front', stuck=False, silent=False, reason=reason)
    pipeline = SimpleNamespace(
        live=SimpleNamespace(silence_timeout_s=2.0), _silent={},
        _monitors=[SimpleNamespace(report=lambda now, timeout_s, stopped: report)],
        _clock_stopped=lambda: '', _warn=lambda kind, message: said.append(message))
    Pipeline.report(pipeline)
    assert said == [f'front: {reason}'] * logged


def test_a_camera_that_is_not_subscribed_is_no_fault_and_its_silence_begins_anew():
    watched = camera(paused='not subscribed: nobody asks')
    monitor = CameraMonitor(watched, 100.0, lambda: 'unplugged')
    report = monitor.report(110.0, 2.0)
    assert (report.level, report.reason, report.silent) == (
        OK, 'not subscribed: nobody asks', False)
    watched.paused = ''
    assert monitor.report(111.5, 2.0).level == OK
    assert monitor.report(112.5, 2.0).reason == 'no image for 2 s: unplugged'
