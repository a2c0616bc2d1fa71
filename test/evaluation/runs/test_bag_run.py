"""A bag through a model, once, in order, and on from where it ended; its files and figures."""

from concurrent.futures import ThreadPoolExecutor
import csv
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from helpers.bag_world import (
    CAMERA,
    cell_xyxy,
    coco,
    compressed,
    detections,
    FRONT,
    GREEN,
    images,
    picture,
    raw,
    REAR,
    RED,
    SECOND,
    SIX_OBJECTS,
    six_pictures,
    stamp,
    write_bag,
)
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.bags.detection_content import found_in
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.bags.writer import detection_topics
from mbv2ssd_ros.evaluation.frame_record import STAGES
from mbv2ssd_ros.evaluation.runs.evaluation import SpentTime, stage_percentiles
from mbv2ssd_ros.evaluation.runs.journal import Journal
from mbv2ssd_ros.evaluation.runs.report import linear_axis
from mbv2ssd_ros.evaluation.runs.run import ModelDetections, run
from mbv2ssd_ros.evaluation.runs.shared_backend import SharedBackend
from mbv2ssd_ros.evaluation.runs.task import BagTask, perform

pytestmark = pytest.mark.needs('faster_coco_eval')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(coco(
        [(f'frame_{k}.jpg', objects) for k, objects in enumerate(SIX_OBJECTS)])))
    return path


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / 'bag', images(six_pictures()))


@pytest.fixture
def task(tmp_path, bag, truth, model):
    return BagTask(bag, tmp_path / 'out', model=model, ground_truth=truth)


def changed(task, **fields):
    return BagTask(**{**task.__dict__, **fields})


def rows(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def without_latency(path):
    found = json.loads(path.read_text())
    del found['latency']
    return found


def test_the_detections_are_those_of_the_detector(task, model):
    records = perform(task).records
    detector = Detector(open_backend('auto', model, BackendOptions()), DetectionSettings(
        score_threshold=0.02, max_detections=200))
    for record, image in zip(records, six_pictures(), strict=True):
        expected = detector.detect([SourceImage(image, 'bgr')])[0]
        assert record.size_hw == (64, 96)
        np.testing.assert_array_equal(record.detections.boxes_xyxy, expected.boxes_xyxy)
        np.testing.assert_array_equal(record.detections.scores, expected.scores)
        np.testing.assert_array_equal(record.detections.labels, expected.labels)
    assert [len(record.detections) for record in records] == [0, 1, 1, 2, 1, 1]


def test_the_files_say_what_was_found(task):
    perform(task)
    metrics = json.loads((task.output / 'metrics.json').read_text())
    assert metrics['complete'] and metrics['accuracy']['map_50'] == 1
    assert metrics['accuracy']['coco']['ap'] == pytest.approx(1)
    assert metrics['frames']['read'] == metrics['frames']['answered'] == 6
    assert metrics['pairing']['by'] == 'index' and metrics['pairing']['paired'] == 6
    assert list(metrics['latency']['stages']) == [
        'read', 'decode', 'preprocess', 'infer', 'select', 'total']
    third = rows(task.output / 'frames.csv')[3]
    assert third == {
        'number': '3', 'topic': CAMERA, 'index': '3', 'stamp': '1700000000.300000000',
        'status': 'answered', 'detections': '2', 'annotation': 'frame_3.jpg', 'objects': '2',
        'correct': '2', 'false': '0', 'missed': '0', 'error': ''}
    times = rows(task.output / 'latency.csv')
    assert len(times) == 6 and all(float(row['infer_ms']) > 0 for row in times)


def test_the_detections_lie_in_a_bag_with_the_headers_of_the_images(task):
    perform(changed(task, annotated=True))
    with Bag(task.output / 'detections.mcap') as bag:
        topics = {topic.name: topic.count for topic in bag.topics}
        messages = list(bag.messages(['/camera/detections']))
        image = next(bag.messages(['/camera/detections/debug_image/compressed'])).content
    assert topics == {'/camera/detections': 6, '/camera/detections/debug_image/compressed': 6}
    assert [message.log_ns for message in messages] == [stamp(k) + 3_000_000 for k in range(6)]
    header = messages[3].content.header
    assert (header.stamp.sec * SECOND + header.stamp.nanosec, header.frame_id) == (
        stamp(3), 'cam')
    assert found_in(messages[3].content) == [
        ('red', 1.0, cell_xyxy(1, 2)), ('green', 1.0, cell_xyxy(2, 4))]
    assert bytes(image.data[:2]) == b'\xff\xd8'


def test_two_runs_are_equal_byte_for_byte(task, tmp_path):
    perform(task)
    again = changed(task, output=tmp_path / 'again')
    perform(again)
    for name in ('frames.csv', 'detections.mcap'):
        assert (task.output / name).read_bytes() == (again.output / name).read_bytes()
    assert without_latency(task.output / 'metrics.json') == without_latency(
        again.output / 'metrics.json')
    pages = [re.sub('<section id="latency">.*?</section>', '', path.read_text(), flags=re.DOTALL)
             for path in (task.output / 'report.html', again.output / 'report.html')]
    assert pages[0] == pages[1] and 'id="latency-table"' not in pages[0]
    journals = [[{key: value for key, value in json.loads(line).items() if key != 'times_ms'}
                 for line in path.read_text().splitlines()]
                for path in (task.output / 'journal.jsonl', again.output / 'journal.jsonl')]
    assert journals[0] == journals[1]


def test_a_wrong_detection_and_a_missed_object_are_counted(task, truth):
    objects = [*SIX_OBJECTS[:4], (), ((1, 3, 0), (1, 0, 0))]  # frame 4 false, frame 5 misses one
    truth.write_text(json.dumps(coco([(f'{k}.jpg', o) for k, o in enumerate(objects)])))
    chosen = perform(task).analysis.overall.chosen
    assert (chosen.correct, chosen.false, chosen.missed) == (5, 1, 1)
    found = rows(task.output / 'frames.csv')
    assert [(r['correct'], r['false'], r['missed']) for r in found[4:]] == [
        ('0', '1', '0'), ('1', '0', '1')]
    assert 'data:image/jpeg;base64' in (task.output / 'report.html').read_text()


def test_the_report_names_frames_stages_and_classes(task):
    perform(task)
    page = (task.output / 'report.html').read_text()
    for text in ('id="frames-table"', 'id="latency-histogram"', 'id="latency-timeline"',
                 'id="curves-chart"', 'tiny.onnx', '6 pairs', CAMERA):
        assert text in page


def test_without_ground_truth_the_frames_are_only_answered(task):
    evaluation = perform(changed(task, ground_truth=None))
    assert evaluation.analysis is None and evaluation.answered == 6
    metrics = json.loads((task.output / 'metrics.json').read_text())
    assert metrics['accuracy'] is None and metrics['pairing'] is None
    assert 'nothing is scored' in (task.output / 'report.html').read_text()


def test_frames_that_fail_are_counted_by_reason_and_not_scored(tmp_path, task):
    messages = images(six_pictures())
    messages[1] = (CAMERA, stamp(1), raw(six_pictures()[1], stamp(1), encoding='32FC1'))
    evaluation = perform(changed(task, bag=write_bag(tmp_path / 'odd', messages)))
    frames = evaluation.to_dict()['frames']
    assert (frames['read'], frames['answered'], frames['scored']) == (6, 5, 5)
    assert frames['failed'] == {'undecodable': 1}
    assert "encoding '32FC1' is a depth image" in frames['failures'][0]['error']
    assert rows(task.output / 'frames.csv')[1]['status'] == 'undecodable'


def test_annotations_of_resized_images_are_refused(task, truth):
    truth.write_text(json.dumps(coco([('3.jpg', [])], size_hw=(32, 48))))
    with pytest.raises(DataError, match='3.jpg is annotated at 48 x 32 pixels, its frame has '
                                        '96 x 64'):
        perform(task)


def test_several_cameras_share_one_evaluation(tmp_path, model):
    front = images([picture((0, 0, RED))] * 2, FRONT)
    rear = [(REAR, log_ns + 1, compressed(picture((3, 5, GREEN)), stamp(k)))
            for k, (_, log_ns, _) in enumerate(front)]
    bag = write_bag(tmp_path / 'bag', sorted(front + rear, key=lambda item: item[1]))
    entries = [(f'{topic}-{stamp(k) // SECOND}_{stamp(k) % SECOND:09d}.jpg', [item])
               for topic, item in (('front__image_raw', (1, 0, 0)),
                                   ('rear__image_raw', (2, 3, 5))) for k in range(2)]
    (tmp_path / 'truth.json').write_text(json.dumps(coco(entries)))
    evaluation = perform(BagTask(bag, tmp_path / 'out', (FRONT, REAR), model,
                                 ground_truth=tmp_path / 'truth.json'))
    assert evaluation.analysis.map_50 == 1 and len(evaluation.scored) == 4
    assert evaluation.to_dict()['frames']['by_topic'][REAR] == {
        'read': 2, 'answered': 2, 'failed': {}}
    with Bag(tmp_path / 'out' / 'detections.mcap') as written:
        assert [topic.name for topic in written.topics] == ['/front/detections',
                                                            '/rear/detections']


@pytest.mark.parametrize(('topics', 'expected'), [
    (['/front/image_raw'], ['/front/detections']),
    (['/front/image_raw/compressed', '/rear/image'], ['/front/detections', '/rear/detections']),
    (['/cam/left', '/cam/right'], ['/cam/left/detections', '/cam/right/detections']),
    (['/image'], ['/detections']),
])
def test_detections_are_published_as_the_node_would(topics, expected):
    assert list(detection_topics(topics).values()) == expected


def test_recorded_detections_are_scored_and_unanswered_frames_counted(tmp_path, truth):
    recorded = [('/found', stamp(k) + 9_000_000, detections(
        [(label, 0.9, cell_xyxy(row, column)) for label, row, column in SIX_OBJECTS[k]],
        stamp(k))) for k in (0, 1, 3)]
    bag = write_bag(tmp_path / 'bag', sorted(
        images(six_pictures()) + recorded, key=lambda item: item[1]))
    evaluation = perform(BagTask(bag, tmp_path / 'out', recorded_topics=('/found',),
                                 ground_truth=truth))
    assert evaluation.subject.class_names == ('green', 'red')
    assert evaluation.to_dict()['frames']['failed'] == {'unanswered': 3}
    assert evaluation.analysis.map_50 == 1 and len(evaluation.scored) == 3
    assert 'infer' not in evaluation.latency()


def test_recorded_classes_that_were_not_named_are_refused(tmp_path):
    bag = write_bag(tmp_path / 'bag', [
        *images(six_pictures()[:1]),
        ('/found', stamp(1), detections([(1, 0.9, cell_xyxy(0, 0))], stamp(0)))])
    with pytest.raises(DataError, match="class 'red' were recorded, which is not one of green"):
        perform(BagTask(bag, tmp_path / 'out', recorded_topics=('/found',),
                        class_names=('green',)))
    with pytest.raises(ConfigError, match='2 topics of recorded detections .* for 1 image'):
        perform(BagTask(bag, tmp_path / 'out', recorded_topics=('/found', '/more')))


def test_recorded_detections_with_equal_stamps_are_not_guessed_at(tmp_path):
    twice = [('/found', stamp(k), detections([], stamp(0))) for k in (1, 2)]
    bag = write_bag(tmp_path / 'bag', [*images(six_pictures()[:1]), *twice])
    with pytest.raises(DataError, match='have two messages with the stamp 17000000000'):
        perform(BagTask(bag, tmp_path / 'out', recorded_topics=('/found',)))


def test_ground_truth_may_be_a_topic(tmp_path, model):
    annotated = [('/truth', stamp(k) + 9_000_000, detections(
        [(label, 1.0, cell_xyxy(row, column)) for label, row, column in SIX_OBJECTS[k]],
        stamp(k) + 1_000_000)) for k in range(5)]
    bag = write_bag(tmp_path / 'bag', sorted(
        images(six_pictures()) + annotated, key=lambda item: item[1]))
    evaluation = perform(BagTask(bag, tmp_path / 'out', model=model, truth_topics=('/truth',)))
    assert evaluation.analysis.map_50 == 1
    assert evaluation.to_dict()['pairing']['unpaired_frames'] == [
        {'topic': CAMERA, 'index': 5, 'stamp_ns': stamp(5)}]
    strict = BagTask(bag, tmp_path / 'out2', model=model, truth_topics=('/truth',),
                     tolerance_ms=0.5)
    with pytest.raises(DataError, match='within 0.5 ms'):
        perform(strict)


@pytest.mark.parametrize(('largest', 'ticks'), [
    (7.3, (0, 2, 4, 6, 8)), (60, (0, 10, 20, 30, 40, 50, 60)), (0.05, (0, 0.01, 0.02, 0.03, 0.04,
                                                                      0.05)),
    (110, (0, 20, 40, 60, 80, 100, 120)), (3.5, (0, 1, 2, 3, 4))])
def test_an_axis_ends_at_a_round_tick_beyond_the_largest_value(largest, ticks):
    axis = linear_axis('ms', largest)
    assert axis.ticks == pytest.approx(ticks) and axis.upper == pytest.approx(ticks[-1])


def test_stages_that_took_no_part_have_no_percentiles():
    nan = float('nan')
    found = stage_percentiles(np.array([[k, nan, nan, 2.0, nan] for k in range(1, 101)]))
    assert list(found) == ['read', 'infer', 'total']
    assert (found['read'].p50_ms, found['read'].p95_ms, found['read'].p99_ms) == (50, 95, 99)
    assert found['total'].p50_ms == 52
    assert stage_percentiles(np.empty((0, 5))) == {}


class SlowSource:
    """Finishes the first frame only after the second one has begun."""

    class_names = ('red',)

    def __init__(self):
        self.second_begun = threading.Event()

    def detect(self, frame):
        if frame.number == 1:
            self.second_begun.set()
        assert frame.number or self.second_begun.wait(20)


def test_two_frames_are_worked_on_at_the_same_time_and_recorded_in_order(tmp_path, bag):
    journal = Journal(tmp_path / 'journal', {})
    with Bag(bag) as opened:
        assert run(opened, [CAMERA], SlowSource(), journal, 'header') == ''
    journal.close()
    assert [record.number for record in journal.records] == [*range(6)]


def test_no_more_than_three_frames_are_in_memory(tmp_path, bag):
    read, journal = [], Journal(tmp_path / 'journal', {})

    class CountedBag(Bag):
        def messages(self, names, kinds=()):
            for message in super().messages(names, kinds):
                read.append(message)
                yield message

    def progress(records):
        for record in records:
            assert len(read) - record.number <= 3  # itself, a second one, one that waits
            yield record

    with CountedBag(bag) as opened:
        run(opened, [CAMERA], RecordedNothing(), journal, 'header', progress)
    journal.close()
    assert len(read) == len(journal.records) == 6


class RecordedNothing:
    """Has no detections for any frame."""

    class_names = ('red',)

    def detect(self, frame):
        return None


def test_time_beyond_inference_is_that_of_reading_and_scoring():
    spent = SpentTime(start_s=1.0, frames_s=5.25, inference_s=5.0, scoring_s=0.15, files_s=0.3)
    assert str(spent) == ('inference 5.0 s; reading and scoring 0.4 s more (8.0 %), report and '
                          'files 0.3 s, start 1.0 s')
    assert str(SpentTime(1.0, 0.25, 0.0, 0.15, 0.3)) == (
        'reading and scoring 0.4 s, report and files 0.3 s, start 1.0 s')


def test_frames_of_an_earlier_run_took_no_time_now(task):
    first = perform(task, interrupted_after(2))
    second, third = perform(task), perform(task)
    assert first.spent.inference_s > 0 and third.spent.inference_s == 0
    assert second.spent.inference_s == pytest.approx(1e-3 * sum(
        record.times_ms[STAGES.index('infer')] for record in second.records[2:]))


class CountingBackend:
    """Counts how many inferences go on at the same time, and in which threads."""

    def __init__(self, backend):
        self._backend, self.threads, self.most = backend, set(), 0
        self._now = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def infer(self, images):
        self._now += 1
        self.most = max(self.most, self._now)
        self.threads.add(threading.get_ident())
        time.sleep(0.002)  # time enough for another one to begin, were it not kept from it
        self._now -= 1
        return self._backend.infer(images)


def test_one_frame_is_inferred_after_the_other(tmp_path, bag, model):
    backend = CountingBackend(open_backend('auto', model, BackendOptions()))
    journal = Journal(tmp_path / 'journal', {})
    with Bag(bag) as opened:
        run(opened, [CAMERA], ModelDetections(backend, DetectionSettings()), journal, 'header')
    journal.close()
    assert backend.most == 1 and len(backend.threads) == 1
    for record in journal.records:
        assert record.times_ms[STAGES.index('infer')] >= 2  # of its own, without the wait


def test_outputs_that_the_next_inference_overwrites_are_copied(model):
    class OneBuffer(CountingBackend):
        max_concurrency = 1
        scores = np.zeros((1, 24, 3), np.float32)

        def infer(self, images):
            self.scores += 1
            return np.zeros((1, 24, 4), np.float32), self.scores

    with ThreadPoolExecutor(1) as inference:
        backend = OneBuffer(open_backend('auto', model, BackendOptions()))
        shared = SharedBackend(backend, inference)
        first, second = (shared.infer(None)[1] for _ in range(2))
    assert (first.max(), second.max()) == (1, 2)


def interrupted_after(count):
    """Return a display of progress that is interrupted like by Ctrl-C."""
    def progress_of(title, done, total):
        def wrap(records):
            for number, record in enumerate(records):
                if number == count:
                    raise KeyboardInterrupt
                yield record
        return wrap
    return progress_of


def test_an_interrupted_run_keeps_what_it_has_and_goes_on(task, tmp_path):
    first = perform(task, interrupted_after(2))
    assert first.incomplete_because == 'interrupted after 2 of 6 frames'
    metrics = json.loads((task.output / 'metrics.json').read_text())
    assert (metrics['complete'], metrics['frames']['read']) == (False, 2)
    assert 'interrupted after 2 of 6' in (task.output / 'report.html').read_text()
    journal = (task.output / 'journal.jsonl').read_bytes()
    done = []

    def progress_of(title, done_before, total):
        done.append((done_before, total))
        return lambda records: records

    perform(task, progress_of)
    assert done == [(2, 6)]
    assert (task.output / 'journal.jsonl').read_bytes().startswith(journal)
    whole = changed(task, output=tmp_path / 'whole')
    perform(whole)
    assert without_latency(task.output / 'metrics.json') == without_latency(
        whole.output / 'metrics.json')


@pytest.mark.parametrize('cut', [1, 40, 10_000])
def test_a_line_cut_by_a_kill_is_done_again(task, cut):
    perform(task)
    journal, expected = task.output / 'journal.jsonl', (task.output / 'frames.csv').read_bytes()
    content = journal.read_bytes()
    journal.write_bytes(content[:-min(cut, len(content))])
    perform(task)
    assert (task.output / 'frames.csv').read_bytes() == expected
    assert len(journal.read_text().splitlines()) == 7


def test_results_of_another_run_are_not_mixed_in(task):
    perform(task)
    with pytest.raises(ConfigError, match='holds results of another run: nms_iou differ, e.g. '
                                          '0.45 there and 0.6 here'):
        perform(changed(task, nms_iou=0.6))
    (task.output / 'journal.jsonl').write_text('hello\n')
    with pytest.raises(DataError, match='not the journal of an evaluation'):
        perform(task)


def test_a_full_disk_is_told_and_what_is_there_is_kept(task):
    task.output.mkdir()
    (task.output / 'journal.jsonl').symlink_to('/dev/full')
    with pytest.raises(DataError, match='journal.jsonl: No space left on device.*resumes'):
        perform(task)


def test_a_bag_that_ends_early_is_scored_as_far_as_it_goes(tmp_path, task):
    bag = write_bag(tmp_path / 'short', images(six_pictures()), 'sqlite3')
    with sqlite3.connect(bag / 'short.db3') as database:
        database.execute('DELETE FROM messages WHERE id > 4')
    evaluation = perform(changed(task, bag=bag))
    assert 'has 4 messages, the recording had 6' in evaluation.incomplete_because
    assert (len(evaluation.scored), evaluation.analysis.map_50) == (4, 1)
    assert not json.loads((task.output / 'metrics.json').read_text())['complete']


def test_a_task_without_a_source_of_detections_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='either a model runs, or recorded detections'):
        BagTask(tmp_path, tmp_path)


def test_killed_and_started_again_gives_the_same(tmp_path, truth, model):
    bag = write_bag(tmp_path / 'long', images(six_pictures() * 150))
    command = [sys.executable, '-m', 'mbv2ssd_ros.tools.evaluate_bag', str(bag), '--model',
               str(model), '--ground-truth', str(truth)]
    killed = subprocess.Popen([*command, '--output', str(tmp_path / 'killed')],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / 'killed' / 'journal.jsonl'
    deadline = time.monotonic() + 60
    while not journal.is_file() or journal.read_bytes().count(b'\n') < 20:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = journal.read_bytes().count(b'\n') - 1
    for name in ('killed', 'whole'):
        ended = subprocess.run([*command, '--output', str(tmp_path / name)],
                               capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        if name == 'killed':
            assert int(re.search(r'resumes after (\d+) of 900', ended.stderr)[1]) in (
                done, done + 1)
    assert without_latency(tmp_path / 'killed' / 'metrics.json') == without_latency(
        tmp_path / 'whole' / 'metrics.json')
    assert (tmp_path / 'killed' / 'detections.mcap').read_bytes() == (
        tmp_path / 'whole' / 'detections.mcap').read_bytes()


def test_memory_does_not_grow_with_the_bag(tmp_path, model):
    script = '''
import resource, sys
from pathlib import Path
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.bags.frames import read_frames
def peak(path):
    with Bag(Path(path)) as bag:
        count = sum(1 for frame in read_frames(bag, [sys.argv[3]]) if frame.image())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, count
(small, few), (large, many) = peak(sys.argv[1]), peak(sys.argv[2])
print(few, many, (large - small) // 1024)
'''
    big = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    paths = [write_bag(tmp_path / f'bag{count}', images([big] * count), storage)
             for count, storage in ((10, 'sqlite3'), (120, 'sqlite3'))]
    found = subprocess.run([sys.executable, '-c', script, *map(str, paths), CAMERA],
                           capture_output=True, text=True, check=True)
    few, many, grown_mb = map(int, found.stdout.split())
    assert (few, many) == (10, 120)
    assert grown_mb < 30  # the larger bag has 100 MB more
