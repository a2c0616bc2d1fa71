"""`mbv2ssd_train eval` with a model whose answers are known."""

import json
import sys

import cv2
import numpy as np
import pytest

from helpers.synthetic import add_image, add_list
from helpers.tiny_model import CELL_PX, INPUT_SIZE_HW, write_tiny_model
from mbv2ssd_train.cli import main

pytestmark = pytest.mark.needs('faster_coco_eval', 'pydantic')



@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Return a model that sees red and green cells."""
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture
def world(tmp_path):
    """
    Write two images, twice as wide and three times as high as the network input.

    In a there are a red object, found with a score of 1, and a green one, not found; in b half a
    red, 0.5, where nothing is.
    """
    def picture(row, column, brightness):
        pixels = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
        pixels[row * CELL_PX:(row + 1) * CELL_PX, column * CELL_PX:(column + 1) * CELL_PX,
               2] = brightness
        return cv2.resize(pixels, None, fx=2, fy=3, interpolation=cv2.INTER_NEAREST)
    add_image(tmp_path, 'a', picture(1, 5, 255),
              [('red', (81, 25, 96, 48), 0), ('green', (1, 1, 16, 24), 0)])
    add_image(tmp_path, 'b', picture(0, 0, 128), [])
    add_list(tmp_path, 'all', ['a', 'b'])
    return tmp_path


def run(model, world, *arguments):
    """Run the verb on all images."""
    return main(['eval', '--model', str(model), '--data', str(world), '--split', 'all',
                 *map(str, arguments)])


def test_figures_are_printed_with_their_split(model, world, capsys):
    assert run(model, world) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-6:] == [
        '  red            AP 1.000   1 objects',
        '  green          AP 0.000   1 objects',
        'mAP@0.5 0.5000 (area), 0.5000 (11-point) on all, 2 images',
        'COCO mAP 0.5000, at IoU 0.5 0.5000, at 0.75 0.5000; small 0.5000, medium none, '
        'large none on all',
        'above a score of 0.35: precision 0.5000, recall 0.5000, F1 0.5000 on all',
        'best F1 0.6667, above a score of 0.751 on all']


def test_the_score_threshold_is_the_operating_point_and_leaves_map_alone(model, world, tmp_path):
    assert run(model, world, '--score-threshold', 0.6, '--json', tmp_path / 'o.json') == 0
    found = json.loads((tmp_path / 'o.json').read_text())
    assert found['map_50'] == 0.5 and found['overall']['at_score_threshold']['precision'] == 1
    assert (found['score_threshold'], found['curve_threshold']) == (0.6, 0.02)
    assert found['confusion']['counts'] == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_the_curve_threshold_decides_what_is_kept(model, world, tmp_path):
    for threshold, length in ((0.02, 2), (0.55, 1)):
        assert run(model, world, '--curve-threshold', threshold, '--score-threshold', 0.6,
                   '--json', tmp_path / 'o.json') == 0
        found = json.loads((tmp_path / 'o.json').read_text())
        assert len(found['per_class']['red']['curve']['score']) == length


def test_the_report_lies_in_the_folder_and_shows_the_pictures(model, world, tmp_path, capsys):
    assert run(model, world, '--report', tmp_path / 'r') == 0
    path = tmp_path / 'r' / 'report.html'
    assert capsys.readouterr().out.splitlines()[-1] == f'report: {path}'
    text = path.read_text(encoding='utf-8')
    assert text.count('data:image/jpeg') == 2 and '<b>a</b>' in text and '<b>b</b>' in text


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--score-threshold', '0.01'), 'a score threshold of 0.01, expected one from 0.02'),
    (('--curve-threshold', '2'), 'expected'),
    (('--nms-iou', '7'), 'nms_iou is 7.0, expected')])
def test_impossible_settings_are_one_line(model, world, capsys, arguments, said):
    assert run(model, world, *arguments) == 1
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def test_without_the_library_for_coco_nothing_is_measured(model, world, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    assert run(model, world) == 1
    captured = capsys.readouterr()
    assert 'mbv2ssd_ros[eval]' in captured.err and captured.out == ''


@pytest.mark.parametrize('option', ['--report', '--json'])
def test_a_folder_that_cannot_be_made_is_one_line_before_the_work(
        model, world, tmp_path, capsys, option):
    (tmp_path / 'file').write_text('')
    assert run(model, world, option, tmp_path / 'file' / 'deep' / 'r') == 1
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1 and captured.out == ''
    assert f'{tmp_path / "file"}' in captured.err and 'Not a directory' in captured.err
