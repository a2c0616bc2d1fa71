"""Streams, webcams and signals: real servers, broken connections, real processes."""

from itertools import cycle
import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from helpers.crowding import crowding
from helpers.predict_world import cells, mjpeg, picture, read_video, server, video, wandering
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.predict import capture
from mbv2ssd_train.predict.read_ahead import ReadAhead

pytestmark = pytest.mark.needs('pydantic', 'rich')  # of the data and of the progress bar


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '*')


def predict(model, output, *arguments):
    """Run the verb in this process; return the exit code."""
    return main(['predict', '--model', str(model), '--output', str(output), '--score-threshold',
                 '0.7', *map(str, arguments)])


def lines(output):
    return [json.loads(line) for line in (output / 'detections.jsonl').read_text().splitlines()]


def test_a_stream_is_looked_at_until_told_otherwise(model, tmp_path):
    frames = cycle([cells(red=[(1, 2)])])
    with server({'/live': mjpeg(frames, lambda _: time.sleep(0.01))}) as at:
        assert predict(model, tmp_path, f'http://{at}/live', '--max-frames', '5') == 0
    found = lines(tmp_path)
    assert len(found) == 5 and {line['source'] for line in found} == {'live'}
    assert [[item['label'] for item in line['detections']] for line in found] == [['red']] * 5
    times = [line['time_s'] for line in found]
    # a machine that is busy may lose the first frame of a stream
    assert times[0] == 0 or found[0]['frame'] > 0
    assert times == sorted(times)


def test_a_stream_that_ends_is_an_error_and_what_came_is_kept(model, tmp_path, capsys):
    with server({'/live': mjpeg(wandering(3), lambda _: time.sleep(0.1))}) as at:
        assert predict(model, tmp_path, f'http://{at}/live', '--reconnect', '0') == 1
    error = capsys.readouterr().err
    assert f'http://{at}/live: broke after 3 frames; --reconnect SECONDS would try' in error
    assert lines(tmp_path)[-1]['frame'] == 2  # the newest counts; others may be skipped
    assert len(read_video(tmp_path / 'live.mp4')[0]) >= 1


def test_a_stream_that_comes_back_goes_on(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(capture, '_RETRY_S', 0.01)
    with server({'/live': mjpeg(wandering(3), lambda _: time.sleep(0.05))}) as at:
        assert predict(model, tmp_path, f'http://{at}/live', '--max-frames', '7') == 0
    assert len(lines(tmp_path)) == 7 and lines(tmp_path)[-1]['frame'] >= 6
    said = capsys.readouterr().out
    assert 'broke after 3 frames; trying again for 10 s' in said and 'live: resumed' in said


def test_a_stream_that_does_not_come_back_is_an_error(model, tmp_path, capsys, monkeypatch):
    def gone(_):
        raise DataError('not there')

    monkeypatch.setattr(capture, '_RETRY_S', 0.01)
    monkeypatch.setattr(capture, 'Capture', gone)  # for attempts to open it again only
    with server({'/live': mjpeg(wandering(3))}) as at:
        assert predict(model, tmp_path, f'http://{at}/live', '--reconnect', '0.1') == 1
    assert ('live: broke after 3 frames and did not come back within 0.1 s (--reconnect)'
            in capsys.readouterr().err)


def test_nobody_sees_the_password_of_a_stream(model, tmp_path, capsys):
    with server({'/live': mjpeg(wandering(3))}) as at:
        predict(model, tmp_path, f'http://me:secret@{at}/live', '--reconnect', '0')
    captured = capsys.readouterr()
    assert 'secret' not in captured.out + captured.err
    assert 'secret' not in (tmp_path / 'detections.jsonl').read_text()


def test_a_webcam_that_is_not_there_is_named(model, tmp_path, capsys):
    assert predict(model, tmp_path, '97') == 1
    assert 'webcam 97: cannot be opened; this machine has ' in capsys.readouterr().err


def started(model, output, *arguments):
    """Start the verb as a process of its own."""
    return subprocess.Popen(
        [sys.executable, '-m', 'mbv2ssd_train', 'predict', '--model', model, '--output', output,
         '--score-threshold', '0.7', *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(output, count):
    """Wait until that many frames are written down."""
    deadline = time.monotonic() + 60
    path = output / 'detections.jsonl'
    while not path.is_file() or path.read_text().count('\n') < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stream_with_files_that_are_complete(model, tmp_path, signum):
    frames = cycle([cells(red=[(1, 2)])])
    with server({'/live': mjpeg(frames, lambda _: time.sleep(0.02))}) as at:
        process = started(model, tmp_path, f'http://{at}/live')
        wait_for_lines(tmp_path, 5)
        process.send_signal(signum)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    count = len(lines(tmp_path))
    assert error == (
        '\nfinishing this image or frame; once more stops at once\n'
        f'mbv2ssd_train predict: stopped by {signum.name}; {count} frames; results are in '
        f'{tmp_path}/\n')
    assert len(read_video(tmp_path / 'live.mp4')[0]) >= 1


def test_a_signal_ends_a_stream_that_says_nothing_any_more(model, tmp_path):
    silence = threading.Event()

    def pace(index):
        if index == 6:
            silence.wait(60)
        time.sleep(0.05)

    with server({'/live': mjpeg(cycle(wandering(6)), pace)}) as at:
        process = started(model, tmp_path, f'http://{at}/live')
        wait_for_lines(tmp_path, 1)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=60)
        took_s = (time.monotonic() - began) / crowding()
        silence.set()
    assert process.returncode == 130 and took_s < 8
    assert len(read_video(tmp_path / 'live.mp4')[0]) >= 1


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--classes', 'red,blue'), "--classes: the model knows no class 'blue'; it knows red, green"),
    (('--every', '2'), '--every is for videos, webcams and streams; all inputs are images'),
    (('--max-frames', '2'), '--max-frames is for videos'),
    (('--reconnect', '2'), '--reconnect is for videos')])
def test_options_that_cannot_be_meant_are_refused(model, tmp_path, capsys, arguments, said):
    picture(tmp_path / 'in/a.png')
    assert predict(model, tmp_path / 'out', tmp_path / 'in', *arguments) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('arguments', [
    ('--every', '0'), ('--every', 'two'), ('--max-frames', '-1'), ('--reconnect', '-1'),
    ('--reconnect', 'nan'), ('--save', 'all'), ('--save', 'crops', '--no-images')])
def test_values_that_are_none_end_with_2(model, tmp_path, arguments):
    with pytest.raises(SystemExit) as caught:
        predict(model, tmp_path, 'a.avi', *arguments)
    assert caught.value.code == 2


def test_only_the_classes_asked_for_are_reported(model, tmp_path):
    picture(tmp_path / 'in/a.png', red=[(0, 0)], green=[(2, 2)])
    assert predict(model, tmp_path / 'out', tmp_path / 'in', '--classes', 'green') == 0
    found = json.loads((tmp_path / 'out/detections.json').read_text())['a.png']
    assert [item['label'] for item in found] == ['green']


def test_some_inputs_that_fail_are_counted_at_the_end(model, tmp_path, capsys):
    clip = video(tmp_path / 'clip.avi', wandering(3))
    assert predict(model, tmp_path / 'out', '97', clip) == 1
    assert '1 of 2 inputs could not be read to the end' in capsys.readouterr().err
    assert len(lines(tmp_path / 'out')) == 3


def numbers(count):
    yield from range(count)


def test_items_keep_their_order_and_few_of_them_wait():
    taken, most = [], 0

    def count():
        for number in range(50):
            nonlocal most
            most = max(most, number + 1 - len(taken))
            yield number

    with ReadAhead(count(), depth=3) as ahead:
        for number in ahead.until(lambda: False):
            taken.append(number)
    assert taken == list(range(50)) and most <= 3 + 2  # one in each hand
    assert ahead.dropped == 0


def test_the_newest_one_waits_where_the_oldest_are_dropped():
    all_there = threading.Event()

    def count():
        yield from range(10)
        all_there.set()

    with ReadAhead(count(), depth=1, newest_only=True) as ahead:
        assert all_there.wait(10)
        assert list(ahead.until(lambda: False)) == [9]
    assert ahead.dropped == 9


def test_an_error_comes_after_the_items_before_it():
    def fails():
        yield 1
        raise DataError('broken')

    seen = []
    with ReadAhead(fails(), depth=4) as ahead, pytest.raises(DataError, match='broken'):
        for number in ahead.until(lambda: False):
            seen.append(number)
    assert seen == [1]


def test_leaving_early_ends_the_thread():
    with ReadAhead(numbers(10 ** 9), depth=2) as ahead:
        assert next(ahead.until(lambda: False)) == 0
    assert not ahead._thread.is_alive()


class Positions:
    """A capture of a file that says these positions, in seconds."""

    rate_hz = 10.0

    def __init__(self, positions_s):
        self._positions_s = iter(positions_s)

    @property
    def position_s(self):
        return next(self._positions_s)


@pytest.mark.parametrize(('positions_s', 'expected_s'), [
    ([0.0, 0.1, 0.3], [0.0, 0.1, 0.3]), ([5.0, 5.1, 5.2], [0.0, 0.1, 0.2]),
    ([0.0, 0.1, 0.0, 0.1], [0.0, 0.1, 0.2, 0.3]), ([float('nan')] * 3, [0.0, 0.1, 0.2])])
def test_time_begins_at_zero_and_goes_on_where_a_file_begins_anew(positions_s, expected_s):
    clock, source = capture._FileClock(), Positions(positions_s)
    times_s = []
    for index in range(len(positions_s)):
        clock.tick(index, source)
        times_s.append(clock.time_s)
    assert times_s == pytest.approx(expected_s)
