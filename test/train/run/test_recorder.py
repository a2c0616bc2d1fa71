"""What a run measured: lines, TensorBoard events, plots, and all of them after a resume."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from helpers.needs import need
from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_train.run.metrics_file import MetricsFile
from mbv2ssd_train.run.plots import draw_plots, running_mean
from mbv2ssd_train.run.recorder import numbers_in, Recorder


def lines_of(folder):
    """The lines of metrics.jsonl without their times."""
    found = MetricsFile(folder / 'metrics.jsonl').read()
    return [{key: value for key, value in line.items() if key != 'elapsed_s'} for line in found]


def scalars_of(folder, tag):
    """Read (step, value) as TensorBoard shows them."""
    accumulator = need('tensorboard.backend.event_processing.event_accumulator')
    events = accumulator.EventAccumulator(str(folder / 'tensorboard'))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def record_steps(recorder, steps):
    for step in steps:
        recorder.train_step(step, step / 10, {'class_loss': 1 / step, 'positives': 3})


def test_a_step_is_a_line_and_a_point_in_tensorboard(tmp_path):
    recorder = Recorder(tmp_path, 20)
    recorder.train_step(10, 0.5, {'class_loss': 0.25, 'positives': 7})
    recorder.close()
    assert lines_of(tmp_path) == [
        {'kind': 'begin', 'step': 0, 'epoch': 0.0, 'total_steps': 20},
        {'kind': 'train', 'step': 10, 'epoch': 0.5, 'class_loss': 0.25, 'positives': 7}]
    assert scalars_of(tmp_path, 'train/class_loss') == [(10, 0.25)]
    assert scalars_of(tmp_path, 'train/positives') == [(10, 7.0)]


def test_an_evaluation_is_a_line_and_its_numbers_are_points(tmp_path):
    recorder = Recorder(tmp_path, 20)
    recorder.evaluation(
        10, 1, {'split': 'val', 'map_50': 0.5, 'ap_50': {'dog': 0.75, 'cat': None}})
    recorder.close()
    assert lines_of(tmp_path)[1] == {
        'kind': 'evaluation', 'step': 10, 'epoch': 1, 'split': 'val', 'map_50': 0.5,
        'ap_50': {'dog': 0.75, 'cat': None}}
    assert scalars_of(tmp_path, 'evaluation/ap_50/dog') == [(10, 0.75)]


def test_tensors_and_values_that_are_not_finite_become_plain(tmp_path):
    recorder = Recorder(tmp_path, 20)
    recorder.train_step(1, 0.1, {'a_loss': torch.tensor(0.5), 'b_loss': float('nan')})
    recorder.close()
    assert lines_of(tmp_path)[1] == {
        'kind': 'train', 'step': 1, 'epoch': 0.1, 'a_loss': 0.5, 'b_loss': None}
    assert scalars_of(tmp_path, 'train/a_loss') == [(1, 0.5)]


@pytest.mark.parametrize('torn', ['', '{"kind": "train", "st'])
def test_a_resumed_run_has_the_lines_and_points_of_one_that_was_never_stopped(tmp_path, torn):
    (tmp_path / 'whole').mkdir()
    (tmp_path / 'stopped').mkdir()
    whole = Recorder(tmp_path / 'whole', 9)
    record_steps(whole, range(1, 10))
    whole.close()
    killed = Recorder(tmp_path / 'stopped', 9)
    record_steps(killed, range(1, 8))
    killed._writer.flush()  # the rest of close() never happens
    with (tmp_path / 'stopped' / 'metrics.jsonl').open('a') as file:
        file.write(torn)
    resumed = Recorder(tmp_path / 'stopped', 9, step=5)
    record_steps(resumed, range(6, 10))
    resumed.close()
    assert lines_of(tmp_path / 'stopped') == lines_of(tmp_path / 'whole')
    assert scalars_of(tmp_path / 'stopped', 'train/class_loss') == scalars_of(
        tmp_path / 'whole', 'train/class_loss')


def test_an_evaluation_before_the_resume_is_not_repeated(tmp_path):
    first = Recorder(tmp_path, 20)
    first.evaluation(10, 1, {'map_50': 0.5})
    again = Recorder(tmp_path, 20, step=10)
    again.evaluation(10, 1, {'map_50': 0.5})
    again.evaluation(20, 2, {'map_50': 0.6})
    assert [line['step'] for line in lines_of(tmp_path)] == [0, 10, 20]


def test_an_evaluation_behind_the_resume_is_made_anew(tmp_path):
    Recorder(tmp_path, 20).evaluation(10, 1, {'map_50': 0.5})
    again = Recorder(tmp_path, 20, step=9)
    again.evaluation(10, 1, {'map_50': 0.75})
    assert [line.get('map_50') for line in lines_of(tmp_path)] == [None, 0.75]


def test_the_time_of_a_resumed_run_goes_on(tmp_path):
    MetricsFile(tmp_path / 'metrics.jsonl').append(
        {'kind': 'train', 'step': 1, 'epoch': 0.1, 'elapsed_s': 5000.0})
    record_steps(Recorder(tmp_path, 9, step=1), [2])
    assert MetricsFile(tmp_path / 'metrics.jsonl').read()[-1]['elapsed_s'] >= 5000.0


def test_a_picture_keeps_its_shape_and_colours(tmp_path):
    accumulator = need('tensorboard.backend.event_processing.event_accumulator')
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:, :2] = (255, 0, 0)  # blue in BGR
    recorder = Recorder(tmp_path, 9)
    recorder.images('batch', 1, picture)
    recorder.close()
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'images' / 'batch.png')), picture)
    events = accumulator.EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    event, = events.Images('batch')
    shown = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, picture)


@pytest.mark.parametrize('picture', [
    np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.float32), np.zeros((4, 6, 4), np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path, picture):
    with pytest.raises(ShapeError, match=r"picture 'batch' is \(4, 6.*expected \(H, W, 3\) uint8"):
        Recorder(tmp_path, 9).images('batch', 1, picture)


@pytest.mark.parametrize('tensor, count', [
    (torch.tensor([[1.0, 2.0, float('nan')]]), 2), (torch.tensor([float('inf')]), None),
    (torch.zeros(0), None), (torch.ones(4, dtype=torch.bfloat16, requires_grad=True), 4)])
def test_a_histogram_counts_what_is_finite(tmp_path, tensor, count):
    accumulator = need('tensorboard.backend.event_processing.event_accumulator')
    recorder = Recorder(tmp_path, 9)
    recorder.histogram('weights/head', 3, tensor)
    recorder.close()
    events = accumulator.EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    if count is None:
        assert not events.Tags()['histograms']
    else:
        event, = events.Histograms('weights/head')
        assert (event.step, event.histogram_value.num) == (3, count)


@pytest.mark.parametrize('hidden, said', [
    ('torch.utils.tensorboard', 'no TensorBoard events are written'),
    ('matplotlib.figure', 'no plots are drawn')])
def test_what_is_not_installed_is_said_once_and_the_lines_are_there(
        tmp_path, monkeypatch, hidden, said):
    monkeypatch.setitem(sys.modules, hidden, None)  # its import fails
    notes = []
    recorder = Recorder(tmp_path, 9, warn=notes.append)
    record_steps(recorder, [1, 2])
    recorder.histogram('weights', 2, torch.ones(3))
    recorder.images('batch', 2, np.zeros((4, 6, 3), np.uint8))
    recorder._draw()
    recorder.close()
    assert [note.startswith(said) for note in notes] == [True]
    assert len(lines_of(tmp_path)) == 3


def test_numbers_are_found_at_any_depth():
    found = {'a': 1, 'b': {'c': 0.5, 'd': {'e': 2}}, 'f': 'text', 'g': None, 'h': [1], 'i': True}
    assert dict(numbers_in(found)) == {'a': 1.0, 'b/c': 0.5, 'b/d/e': 2.0}


# --- plots


def measured(path, count=40):
    metrics = MetricsFile(path)
    for step in range(1, count + 1):
        metrics.append({'kind': 'train', 'step': step, 'epoch': step / 10, 'class_loss': 4 / step,
                        'box_loss': 2 / step, 'learning_rate': 0.01, 'positives': 30,
                        'negatives': 90, 'images_per_s': 95.5, 'positives_mean': 2.5,
                        'gradient_norm': 3.5, 'elapsed_s': step})
    metrics.append({'kind': 'evaluation', 'step': 40, 'epoch': 4, 'split': 'val', 'map_50': 0.5,
                    'map_50_11point': 0.52, 'images': 3, 'ap_50': {'disc': 0.5, 'none': None}})
    return path


def test_a_plot_is_drawn_of_all_that_was_measured(tmp_path):
    found = draw_plots(measured(tmp_path / 'm.jsonl'), tmp_path / 'plots')
    assert sorted(path.name for path in found) == [
        'classes.png', 'gradient.png', 'learning_rate.png', 'loss.png', 'map.png',
        'matching.png', 'mining.png', 'results.png', 'throughput.png']
    for path in found:
        picture = cv2.imread(str(path))
        assert picture.shape[1] == (1540 if path.name == 'results.png' else 770)
        assert picture.std() > 10
    assert sorted((tmp_path / 'plots').iterdir()) == sorted(found)


def test_nothing_measured_gives_no_plot(tmp_path):
    assert draw_plots(tmp_path / 'm.jsonl', tmp_path / 'plots') == []
    assert not (tmp_path / 'plots').exists()


def test_a_run_without_finite_values_gives_no_plot(tmp_path):
    MetricsFile(tmp_path / 'm.jsonl').append(
        {'kind': 'train', 'step': 1, 'epoch': 0.1, 'class_loss': float('nan')})
    assert draw_plots(tmp_path / 'm.jsonl', tmp_path / 'plots') == []


def test_closing_draws_the_plots(tmp_path):
    recorder = Recorder(tmp_path, 9)
    record_steps(recorder, [1, 2, 3])
    recorder.close()
    assert sorted(path.name for path in (tmp_path / 'plots').iterdir()) == [
        'loss.png', 'mining.png']


def test_a_running_mean_looks_back():
    np.testing.assert_allclose(running_mean([1, 2, 3, 4], 2), [1, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(running_mean([5.0], 3), [5.0])


def test_nothing_slow_is_imported_before_it_is_needed(tmp_path):
    code = '''
import sys
import mbv2ssd_train.run.recorder as recorder, pathlib
assert not {'matplotlib', 'tensorboard'} & set(sys.modules)
folder = pathlib.Path(sys.argv[1])
recorder.Recorder(folder, 9).train_step(1, 1.0, {'loss': 0.5})
recorder.draw_plots(folder / 'metrics.jsonl', folder)
assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules
'''
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def test_metrics_are_json_that_every_reader_takes(tmp_path):
    recorder = Recorder(tmp_path, 9)
    recorder.evaluation(1, 1, {'map_50': float('nan'), 'ap_50': {'a': float('inf')}})

    def refuse(constant):
        raise AssertionError(constant)

    for line in (tmp_path / 'metrics.jsonl').read_text().splitlines():
        json.loads(line, parse_constant=refuse)
