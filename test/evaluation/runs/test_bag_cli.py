"""The command line of evaluate_bag: exit codes, comparisons, and errors that teach."""

import json
import re
import resource
import subprocess
import sys

import pytest

from helpers.bag_world import (
    cell_xyxy,
    coco,
    detections,
    images,
    raw,
    SIX_OBJECTS,
    six_pictures,
    stamp,
    write_bag,
)
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.evaluation.runs.baseline import Change, changes, table
from mbv2ssd_ros.tools.cli.progress import frame_progress
from mbv2ssd_ros.tools.evaluate_bag import main

pytestmark = pytest.mark.needs('faster_coco_eval')


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Return a function that runs the program in a folder with a bag, a model and truth."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / 'tiny.onnx')
    recorded = [('/found', stamp(k) + 9_000_000, detections(
        [(label, 0.9, cell_xyxy(row, column)) for label, row, column in SIX_OBJECTS[k]],
        stamp(k))) for k in range(5)]
    write_bag(tmp_path / 'drive', sorted(images(six_pictures()) + recorded,
                                         key=lambda item: item[1]))
    write_truth(tmp_path / 'truth.json', SIX_OBJECTS)

    def run(*arguments, bag='drive', model='tiny.onnx'):
        chosen = ['--model', model] if model else []
        return main([bag, *chosen, *map(str, arguments)])
    return run


def write_truth(path, objects):
    path.write_text(json.dumps(coco(
        [(f'frame_{k}.jpg', found) for k, found in enumerate(objects)])))
    return path


def test_the_figures_are_printed_and_the_folder_named(world, tmp_path, capsys):
    assert world('--ground-truth', 'truth.json') == 0
    shown = capsys.readouterr().out
    assert 'tiny.onnx on drive: 6 frames read, 6 answered' in shown
    assert 'mAP@0.5 1.0000 (area)' in shown and 'precision 1.0000' in shown
    assert 'see drive_evaluation/report.html' in shown
    assert (tmp_path / 'drive_evaluation' / 'detections.mcap').is_file()


def test_frames_of_which_none_is_answered_are_an_error_that_says_why(world, tmp_path, capsys):
    write_bag(tmp_path / 'depth', images(six_pictures(), make=lambda image, ns: raw(
        image, ns, encoding='32FC1')))
    assert world('--ground-truth', 'truth.json', bag='depth') == 1
    shown = capsys.readouterr()
    assert '6 undecodable\nundecodable, first frame 0 of /camera/image_raw: encoding' in shown.out
    assert 'incomplete: not one frame was answered: encoding' in shown.err


def test_a_camera_that_stamps_nothing_is_told_of(world, tmp_path, capsys):
    write_bag(tmp_path / 'unstamped', images(six_pictures(), make=lambda image, ns: raw(image, 0)))
    world('--output', 'out', bag='unstamped')
    assert '5 frames have the stamp of an earlier one; --clock rec' in capsys.readouterr().out
    world('--output', 'recorded', '--clock', 'recorded', bag='unstamped')
    assert 'stamp of an earlier one' not in capsys.readouterr().out


def test_a_folder_without_bags_says_what_a_bag_has(world, tmp_path, capsys):
    (tmp_path / 'nothing').mkdir()
    assert world(bag='nothing') == 1
    assert 'neither a bag nor a folder of bags' in capsys.readouterr().err


def test_the_result_of_a_run_is_a_baseline_that_it_reaches(world, capsys):
    world('--ground-truth', 'truth.json', '--output', 'old')
    assert world('--ground-truth', 'truth.json', '--baseline', 'old/metrics.json') == 0
    assert 'AP@0.5 green                   100.00     100.00    +0.00' in capsys.readouterr().out


def test_a_drop_below_the_baseline_fails_with_a_table(world, tmp_path, capsys):
    world('--ground-truth', 'truth.json', '--output', 'old')
    # an object that nobody finds: 5 of 6, AP of red falls from 1 to 4/5, of green not at all
    write_truth(tmp_path / 'truth.json', [((1, 2, 2),), *SIX_OBJECTS[1:]])
    arguments = ('--ground-truth', 'truth.json', '--baseline', 'old/metrics.json',
                 '--changed-data')
    assert world(*arguments) == 1
    shown = capsys.readouterr()
    [line] = [line for line in shown.out.splitlines() if line.startswith('mAP@0.5   ')]
    assert line.split() == ['mAP@0.5', '100.00', '90.00', '-10.00', 'worse', 'by', 'more', 'than',
                            '0.5']
    assert 'worse than old/metrics.json by more than 0.5 points' in shown.err
    assert world(*arguments, '--max-drop', '12') == 0


@pytest.mark.parametrize(('before', 'after', 'decides', 'worse'), [
    (50.0, 49.5, True, False), (50.0, 49.49, True, True), (50.0, 49.0, False, False),
    (None, 10.0, True, False), (50.0, None, True, True), (50.0, 60.0, True, False),
    (0.3, 0.3 - 0.1 - 0.2 - 0.2, True, False)])  # not exactly 0.5 in floats
def test_a_change_is_worse_beyond_the_accepted_drop(before, after, decides, worse):
    change = Change('mAP', before, after, decides)
    assert change.is_worse(0.5) is worse
    assert ('worse by more than 0.5' in table([change], 0.5, ('a', 'b'))) is worse


@pytest.mark.parametrize(('spoil', 'expected'), [
    (lambda m: m.update(complete=False), 'is incomplete'),
    (lambda m: m['accuracy'].update(classes=['cat']), 'classes is .*cat.*cannot be compared'),
    (lambda m: m['accuracy'].update(score_threshold=0.9), 'score_threshold is 0.9, here it is'),
    (lambda m: m.update(accuracy=None), 'made without ground truth'),
    (lambda m: m.pop('frames'), 'not the metrics.json of evaluate_bag'),
])
def test_a_baseline_that_cannot_be_compared_is_refused(world, tmp_path, capsys, spoil, expected):
    world('--ground-truth', 'truth.json', '--output', 'old')
    path = tmp_path / 'old' / 'metrics.json'
    metrics = json.loads(path.read_text())
    spoil(metrics)
    path.write_text(json.dumps(metrics))
    assert world('--ground-truth', 'truth.json', '--baseline', path) == 1
    assert re.search(f'error: .*{expected}', capsys.readouterr().err)


@pytest.mark.parametrize(('objects', 'expected'), [
    (SIX_OBJECTS[:5], 'had 4 red (now 3); 6 frames were scored before, 5 now'),
    ([(), *SIX_OBJECTS[2:3], *SIX_OBJECTS[2:]], 'had 4 red (now 3), 2 green (now 3)'),
    ([((2, 3, 5),), *SIX_OBJECTS[1:]], 'had 2 green (now 3)'),
    ([*SIX_OBJECTS[:5], ((1, 3, 1),)], 'the ground truth, or which frames are scored, is not')])
def test_a_baseline_of_other_frames_or_truth_needs_a_word(world, tmp_path, capsys, objects,
                                                          expected):
    world('--ground-truth', 'truth.json', '--output', 'old')
    write_truth(tmp_path / 'truth.json', objects)
    arguments = ('--ground-truth', 'truth.json', '--baseline', 'old/metrics.json', '--max-drop',
                 '100')
    assert world(*arguments) == 1
    shown = capsys.readouterr().err
    assert expected in shown and 'with --changed-data' in shown
    assert world(*arguments, '--changed-data') == 0
    assert expected in capsys.readouterr().err


def test_a_baseline_of_other_classes_is_refused_before_anything_runs(world, tmp_path, capsys):
    world('--ground-truth', 'truth.json', '--output', 'old')
    path = tmp_path / 'old' / 'metrics.json'
    path.write_text(path.read_text().replace('"green"', '"blue"'))
    assert world('--ground-truth', 'truth.json', '--baseline', path, '--output', 'new') == 1
    assert "classes is ['red', 'blue'], here it is ['red', 'green']" in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_two_models_are_measured_side_by_side(world, tmp_path, capsys):
    assert world('--ground-truth', 'truth.json', '--compare', 'tiny.onnx',
                 '--output', 'out') == 0
    assert 'infer p50, ms' in capsys.readouterr().out
    found = json.loads((tmp_path / 'out' / 'comparison.json').read_text())
    assert found['changes'][0] == {'figure': 'mAP@0.5', 'before': 100.0, 'after': 100.0,
                                   'change': 0.0}
    assert (tmp_path / 'out' / 'compared' / 'report.html').is_file()


def test_what_was_recorded_is_compared_with_a_model(world, tmp_path):
    assert world('--recorded', '/found', '--ground-truth', 'truth.json', '--compare', 'tiny.onnx',
                 model=None) == 0
    found = json.loads((tmp_path / 'drive_evaluation' / 'comparison.json').read_text())
    assert (found['before'], found['after']) == ('/found', 'tiny.onnx')


def test_classes_in_another_order_cannot_be_compared():
    accuracy = {'classes': ['a', 'b'], 'curve_threshold': 0, 'score_threshold': 0}
    other = {**accuracy, 'classes': ['b', 'a']}
    with pytest.raises(ConfigError, match='cannot be compared'):
        changes({'accuracy': accuracy, 'complete': True}, {'accuracy': other}, 'old')


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['--topic', '/cam'], "has no topic '/cam'; it has /camera/image_raw"),
    (['--ground-truth', 'none.json'], 'none.json: no such annotations'),
    (['--baseline', 'none.json', '--ground-truth', 'truth.json'], 'none.json: cannot be read'),
    (['--baseline', 'truth.json'], '--baseline and --compare need --ground-truth'),
    (['--recorded', '/found'], 'give one of them'),
    (['--classes', 'a'], '--classes is for --recorded'),
    (['--ground-truth', 'truth.json', '--ground-truth-topic', '/found'], 'not from both'),
    (['--curve-threshold', '0.5'], 'expected one from 0.5'),
    (['--output', 'truth.json'], 'truth.json: cannot be made'),
])
def test_what_cannot_be_done_is_one_clear_line(world, capsys, arguments, expected):
    assert world(*arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('evaluate_bag: error: ') and expected in error


def test_foreign_classes_are_refused_before_anything_runs(world, tmp_path, capsys):
    path = tmp_path / 'truth.json'
    path.write_text(path.read_text().replace('"green"', '"blue"'))
    assert world('--ground-truth', 'truth.json') == 1
    assert "frame_2.jpg has an object of class 'blue'" in capsys.readouterr().err
    assert not (tmp_path / 'drive_evaluation').exists()


def test_restart_begins_anew_where_other_settings_were_used(world, capsys):
    assert world('--nms-iou', '0.5') == 0
    assert world() == 1
    assert 'start over with --restart' in capsys.readouterr().err
    assert world('--restart') == 0


@pytest.mark.parametrize('arguments', [
    ['--score-threshold', '2'], ['--nms-iou', 'x'], ['--max-drop', '-1'], ['--tolerance-ms', '0'],
    ['--max-detections', '0'], ['--clock', 'wall']])
def test_values_out_of_range_are_refused_where_they_are_typed(world, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        world(*arguments)
    assert ended.value.code == 2
    assert f'argument {arguments[0]}' in capsys.readouterr().err


def test_a_disk_that_fills_up_ends_the_run_and_the_next_one_goes_on(world, tmp_path):
    write_bag(tmp_path / 'long', images(six_pictures() * 50))
    write_truth(tmp_path / 'many.json', SIX_OBJECTS * 50)
    command = [sys.executable, '-m', 'mbv2ssd_ros.tools.evaluate_bag', 'long', '--model',
               'tiny.onnx', '--ground-truth', 'many.json']

    def no_file_beyond_30_kb():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    full = subprocess.run(command, capture_output=True, text=True,
                          preexec_fn=no_file_beyond_30_kb)
    assert full.returncode == 1
    assert 'journal.jsonl: File too large; what is in it is kept' in full.stderr
    assert not (tmp_path / 'long_evaluation' / 'metrics.json.partial').exists()
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert 'resumes after' in ended.stderr
    metrics = json.loads((tmp_path / 'long_evaluation' / 'metrics.json').read_text())
    assert metrics['complete'] and metrics['frames']['answered'] == 300
    assert metrics['accuracy']['map_50'] == 1


def test_progress_is_a_line_in_a_log(capsys):
    assert list(frame_progress('drive', 2, 5)(iter('abc'))) == ['a', 'b', 'c']
    shown = capsys.readouterr().err
    assert 'drive: resumes after 2 of 5 frames' in shown
    assert 'drive: 5/5 frames' in shown
