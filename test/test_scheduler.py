"""The scheduler: newest frame first, every camera its turn, every frame counted."""

import random
import threading
import time

import pytest

from mbv2ssd_ros.frames import FrameCounters, INTERNAL_ERROR, REPLACED, SHUTDOWN
from mbv2ssd_ros.scheduler import InlineScheduler, make_scheduler, WorkerScheduler

TIMEOUT_S = 5.0


class Recorder:
    """A processor that notes its batches and, while its gate is closed, keeps them."""

    def __init__(self, gate_open=True):
        self.batches = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        if gate_open:
            self.gate.set()

    def __call__(self, batch):
        self.batches.append([(frame.camera, frame.payload) for frame in batch])
        self.entered.release()
        assert self.gate.wait(TIMEOUT_S)
        for frame in batch:
            frame.publish()

    def wait_entered(self):
        assert self.entered.acquire(timeout=TIMEOUT_S)


class Rig:
    """Cameras with counters on a worker scheduler."""

    def __init__(self, cameras, *processors, max_batch=1, wait_s=0.0):
        self.counters = [FrameCounters() for _ in range(cameras)]
        self.errors = []
        self.scheduler = WorkerScheduler(
            cameras, processors, max_batch, wait_s, self.errors.append)

    def submit(self, camera, payload='image'):
        self.scheduler.submit(self.counters[camera].receive(camera, payload))

    def counts(self, camera=0):
        return self.counters[camera].counts()

    def wait_published(self, total):
        deadline = time.monotonic() + TIMEOUT_S
        while sum(counters.counts().published for counters in self.counters) < total:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def busy_rig(cameras, **settings):
    """Return a recorder that keeps a frame of camera 0 until its gate opens, and its rig."""
    recorder = Recorder(gate_open=False)
    rig = Rig(cameras, recorder, **settings)
    rig.submit(0, 'busy')
    recorder.wait_entered()
    return recorder, rig


def test_one_camera_is_processed_in_the_thread_that_submits():
    threads = []
    scheduler = make_scheduler(
        1, [lambda batch: (threads.append(threading.current_thread()), batch[0].publish())],
        max_batch=4, max_batch_wait_s=1.0, report=pytest.fail)
    assert isinstance(scheduler, InlineScheduler)
    scheduler.submit(FrameCounters().receive(0, 'image'))
    assert threads == [threading.current_thread()]


def test_a_stopped_inline_scheduler_drops():
    counters, recorder = FrameCounters(), Recorder()
    scheduler = InlineScheduler(recorder, pytest.fail)
    assert scheduler.stop()
    scheduler.submit(counters.receive(0, 'late'))
    assert counters.counts().dropped[SHUTDOWN] == 1
    assert recorder.batches == []


def test_no_more_workers_than_cameras():
    scheduler = make_scheduler(2, [Recorder()] * 8, 1, 0.0, pytest.fail)
    workers = [t for t in threading.enumerate() if t.name.startswith('infer-')]
    assert len(workers) == 2
    assert scheduler.stop()


def test_the_newest_frame_replaces_the_waiting_one():
    recorder, rig = busy_rig(2)
    for payload in ('old', 'newer', 'newest'):
        rig.submit(0, payload)
    assert rig.counts().dropped[REPLACED] == 2
    recorder.gate.set()
    rig.wait_published(2)
    assert recorder.batches == [[(0, 'busy')], [(0, 'newest')]]
    assert rig.scheduler.stop()


def test_a_busy_worker_never_blocks_submit():
    recorder, rig = busy_rig(2)
    started = time.monotonic()
    rig.submit(0)
    assert time.monotonic() - started < 0.5  # the gate is closed for as long as we like
    recorder.gate.set()
    assert rig.scheduler.stop()


def test_the_camera_that_waited_longest_for_a_turn_is_next():
    recorder, rig = busy_rig(3)
    for camera in (0, 2, 1, 0):
        rig.submit(camera)
    recorder.gate.set()
    rig.wait_published(4)
    served = [batch[0][0] for batch in recorder.batches]
    assert served[0] == 0
    assert sorted(served[1:3]) == [1, 2]
    assert served[3] == 0
    assert rig.scheduler.stop()


def test_a_fast_camera_does_not_starve_a_slow_one_under_overload():
    rig = Rig(2, lambda batch: (time.sleep(0.002), batch[0].publish()))
    deadline = time.monotonic() + TIMEOUT_S
    while rig.counts(1).published <= 20:
        assert time.monotonic() < deadline
        for camera in (0, 0, 0, 1):
            rig.submit(camera)
        time.sleep(0.0005)
    assert rig.scheduler.stop()
    fast, slow = rig.counts(0).published, rig.counts(1).published
    assert abs(fast - slow) <= 0.1 * (fast + slow)


def test_a_batch_takes_ready_cameras_up_to_its_limit():
    recorder, rig = busy_rig(4, max_batch=2)
    for camera in (1, 2, 3):
        rig.submit(camera)
    recorder.gate.set()
    rig.wait_published(4)
    assert [len(batch) for batch in recorder.batches] == [1, 2, 1]
    assert rig.scheduler.stop()


def test_a_batch_waits_for_the_other_camera():
    recorder = Recorder()
    rig = Rig(2, recorder, max_batch=2, wait_s=TIMEOUT_S)
    rig.submit(0)
    assert not recorder.entered.acquire(timeout=0.05)
    rig.submit(1)
    recorder.wait_entered()
    assert sorted(recorder.batches[0]) == [(0, 'image'), (1, 'image')]
    assert rig.scheduler.stop()


def test_a_batch_goes_incomplete_when_the_wait_is_over():
    recorder = Recorder()
    rig = Rig(2, recorder, max_batch=2, wait_s=0.02)
    rig.submit(0)
    recorder.wait_entered()
    assert recorder.batches == [[(0, 'image')]]
    assert rig.scheduler.stop()


def test_two_workers_serve_two_cameras_at_the_same_time():
    recorder = Recorder(gate_open=False)
    rig = Rig(2, recorder, recorder)
    rig.submit(0)
    rig.submit(1)
    recorder.wait_entered()
    recorder.wait_entered()  # while the first one is still inside
    recorder.gate.set()
    assert rig.scheduler.stop()


def test_frames_of_one_camera_are_never_processed_at_the_same_time():
    recorder = Recorder(gate_open=False)
    rig = Rig(2, recorder, recorder)
    rig.submit(0, 'a')
    recorder.wait_entered()
    rig.submit(0, 'b')
    assert not recorder.entered.acquire(timeout=0.05)  # time for the idle worker to do wrong
    recorder.gate.set()
    recorder.wait_entered()
    assert rig.scheduler.stop()


def test_stop_finishes_the_frame_under_way_and_drops_the_waiting_one():
    recorder, rig = busy_rig(2)
    rig.submit(1)
    threading.Timer(0.05, recorder.gate.set).start()
    assert rig.scheduler.stop()
    assert rig.counts(0).published == 1
    assert rig.counts(1).dropped[SHUTDOWN] == 1
    assert not [t for t in threading.enumerate() if t.name.startswith('infer-')]


def test_stop_says_when_a_processor_does_not_come_back():
    recorder, rig = busy_rig(2)
    assert not rig.scheduler.stop(timeout_s=0.05)
    assert rig.counts(0).in_flight == 1
    recorder.gate.set()
    assert rig.scheduler.stop()


def test_a_frame_after_stop_is_dropped():
    rig = Rig(2, Recorder())
    assert rig.scheduler.stop()
    rig.submit(1)
    assert rig.counts(1).dropped[SHUTDOWN] == 1


@pytest.mark.parametrize('cameras', [1, 2])
def test_an_error_costs_its_frame_and_is_reported(cameras):
    def explode_once(batch):
        if batch[0].payload == 'bomb':
            raise ValueError('boom')
        batch[0].publish()

    errors = []
    counters = FrameCounters()
    scheduler = make_scheduler(cameras, [explode_once], 1, 0.0, errors.append)
    for payload in ('bomb', 'image'):
        scheduler.submit(counters.receive(0, payload))
        deadline = time.monotonic() + TIMEOUT_S
        while counters.counts().in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert scheduler.stop()
    assert [str(err) for err in errors] == ['boom']
    assert (counters.counts().dropped[INTERNAL_ERROR], counters.counts().published) == (1, 1)


def test_a_frame_the_processor_forgot_is_counted():
    rig = Rig(2, lambda batch: None)
    rig.submit(0)
    deadline = time.monotonic() + TIMEOUT_S
    while rig.counts().in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert rig.scheduler.stop()
    assert rig.counts().dropped[INTERNAL_ERROR] == 1


def test_no_more_than_one_frame_waits_also_while_another_arrives():
    recorder, rig = busy_rig(2)
    rig.submit(0)
    arriving = rig.counters[0].receive(0, 'newest')
    assert rig.counts(0).in_flight == 2  # one waits, one is under way
    rig.scheduler.submit(arriving)
    assert (rig.counts(0).in_flight, rig.counts(0).dropped[REPLACED]) == (2, 1)
    recorder.gate.set()
    assert rig.scheduler.stop()


@pytest.mark.parametrize('seed', range(3))
def test_books_balance_after_a_storm(seed):
    rng = random.Random(seed)

    def process(batch):
        time.sleep(rng.choice((0, 0.001)))
        for frame in batch:
            if rng.random() < 0.1:
                raise ValueError
            frame.publish()

    rig = Rig(4, process, process, max_batch=rng.choice((1, 3)), wait_s=0.001)
    for _ in range(1000):
        rig.submit(rng.randrange(4))
        counts = rig.counts(rng.randrange(4))
        assert 0 <= counts.in_flight <= 2  # one waits, one is under way
        if rng.random() < 0.05:
            time.sleep(0.001)
    assert rig.scheduler.stop()
    for camera in range(4):
        counts = rig.counts(camera)
        assert counts.in_flight == 0
        assert counts.received == counts.published + sum(counts.dropped.values())
    assert sum(rig.counts(camera).received for camera in range(4)) == 1000
