"""The demo with a model whose answers are known, and the pieces it is made of."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from helpers.needs import need
from helpers.tiny_model import COLUMNS, ROWS, write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.drawing import class_colour
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.shipped import find_model, shipped_path
from mbv2ssd_ros.tools import demo
from mbv2ssd_ros.tools.cli.processes import ending, ProcessError, Program
from mbv2ssd_ros.tools.demo import best_frames, DemoFrame, frames_of, main
from mbv2ssd_ros.tools.playing.contact_sheet import contact_sheet, TILE_WH
from mbv2ssd_ros.tools.playing.image_source import open_source

CELL_PX = 40
SIZE_HW = (ROWS * CELL_PX, COLUMNS * CELL_PX)  # 160 x 240: each cell of the model is 40 pixels
BGR = {'red': (0, 0, 255), 'green': (0, 255, 0)}


def write_picture(path, row=0, column=0, colour=None):
    """Write a black picture with one cell in colour."""
    image = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
    if colour is not None:
        image[row * CELL_PX:(row + 1) * CELL_PX, column * CELL_PX:(column + 1) * CELL_PX] = (
            BGR[colour])
    cv2.imwrite(str(path), image)


def run_demo(domain_id, folder, *arguments):
    """Run the demo with the tiny model on the pictures of a folder."""
    model = write_tiny_model(folder / 'tiny.onnx')
    return subprocess.run(
        [sys.executable, '-m', 'mbv2ssd_ros.tools.demo', '--model', str(model), '--images',
         str(folder / 'images'), '--output', str(folder / 'out'), '--domain-id', str(domain_id),
         *arguments],
        capture_output=True, text=True, timeout=60)


@pytest.fixture
def images(graph, tmp_path):
    """Make a folder for pictures, where ROS is there."""
    need('vision_msgs')
    (tmp_path / 'images').mkdir()
    return tmp_path / 'images'


def test_each_picture_comes_back_with_its_box(images, graph, tmp_path):
    write_picture(images / 'a.png', 1, 4, 'red')
    write_picture(images / 'b.png', 3, 0, 'green')
    ended = run_demo(graph.domain_id, tmp_path, '--rounds', '2')
    assert ended.returncode == 0, ended.stderr
    assert 'detections in all 2 images' in ended.stdout
    out, log = tmp_path / 'out', tmp_path / 'out' / 'log'
    frames = frames_of(log / 'played.jsonl', log / 'viewed.jsonl', out)
    assert sum(frame.answered for frame in frames) >= 4
    seen = best_frames(frames, ['a.png', 'b.png'])
    assert (seen['a.png'].names, seen['b.png'].names) == (('red',), ('green',))
    np.testing.assert_allclose(  # row 1, column 4
        seen['a.png'].boxes_xyxy_px, [[160, 40, 200, 80]], atol=0.5)
    np.testing.assert_allclose(  # row 3, column 0
        seen['b.png'].boxes_xyxy_px, [[0, 120, 40, 160]], atol=0.5)
    drawn = cv2.imread(str(seen['a.png'].picture))
    assert drawn.shape == (*SIZE_HW, 3)
    assert tuple(drawn[70, 160]) == class_colour('red')
    sheet = cv2.imread(str(tmp_path / 'out' / 'contact_sheet.png'))
    assert sheet.shape[1] // TILE_WH[0] == 2


def test_a_picture_without_a_detection_fails_the_demo_by_name(images, graph, tmp_path):
    write_picture(images / 'a.png', 1, 4, 'red')
    write_picture(images / 'empty.png')
    ended = run_demo(graph.domain_id, tmp_path, '--rounds', '2')
    assert ended.returncode == 1
    assert 'nothing was detected in empty.png' in ended.stderr


def test_a_model_that_cannot_be_loaded_fails_the_demo_with_the_detector_s_reason(
        images, graph, tmp_path):
    write_picture(images / 'a.png', 1, 4, 'red')
    (tmp_path / 'broken.onnx').write_bytes(b'not a model')
    ended = run_demo(graph.domain_id, tmp_path, '--model', str(tmp_path / 'broken.onnx'))
    assert ended.returncode == 1
    assert 'broken.onnx' in ended.stderr.partition('node ended with exit code 1')[2]


def test_a_detector_that_answers_nothing_is_given_up(tmp_path):
    silent = [Program('timeit', ['-n', '1', '-r', '1', 'import time; time.sleep(60)'], os.environ,
                      tmp_path / f'{name}.log') for name in ('node', 'viewer', 'player')]
    told = r'no detections within 0\.1 s; the detector: its log .*node\.log'
    with ending(silent), pytest.raises(ProcessError, match=told):
        next(demo._answers(silent, 0.1))


def test_a_missing_model_is_refused_before_anything_starts(images, tmp_path, capsys):
    write_picture(images / 'a.png')
    assert main(['--images', str(images), '--model', str(tmp_path / 'none.onnx'),
                 '--output', str(tmp_path / 'out')]) == 1
    assert 'none.onnx: no such file' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def write_lines(path, *lines):
    """Write JSON lines."""
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def viewed(stamp_ns, *scores):
    """Make a line of the viewer's record."""
    return {'stamp_ns': stamp_ns, 'names': ['cat'] * len(scores), 'scores': list(scores),
            'boxes_xyxy_px': [[0, 0, 9, 9]] * len(scores), 'latency_ms': 5.0,
            'file': f'{stamp_ns}.png'}


def test_frames_are_matched_by_stamp_from_the_first_answer_to_the_last(tmp_path):
    played = write_lines(tmp_path / 'played', *(
        {'stamp_ns': stamp, 'name': name} for stamp, name in enumerate('abcde')))
    seen = write_lines(tmp_path / 'viewed', viewed(3, 0.5), viewed(1))
    assert [(frame.image_name, frame.answered, frame.scores)
            for frame in frames_of(played, seen, tmp_path)] == [
        ('b', True, ()), ('c', False, ()), ('d', True, (0.5,))]


def test_a_frame_has_a_picture_only_where_one_was_written(tmp_path):
    played = write_lines(tmp_path / 'played', {'stamp_ns': 1, 'name': 'a'},
                         {'stamp_ns': 2, 'name': 'b'})
    seen = write_lines(tmp_path / 'viewed', viewed(1), viewed(2))
    write_picture(tmp_path / '2.png')
    assert [frame.picture for frame in frames_of(played, seen, tmp_path)] == [
        None, tmp_path / '2.png']


def test_a_frame_with_a_picture_and_the_surest_detection_speaks_for_its_image(tmp_path):
    frames = [DemoFrame('a', True, ('cat',), (0.9,)),
              DemoFrame('a', True, ('cat',), (0.4,), picture=tmp_path),
              DemoFrame('a', True, ('dog', 'cat'), (0.8, 0.3), picture=tmp_path),
              DemoFrame('a', False)]
    assert best_frames(frames, ['a', 'b']) == {'a': frames[2], 'b': DemoFrame('b', False)}


@pytest.mark.parametrize(('count', 'columns', 'rows'), [(1, 1, 1), (4, 4, 1), (5, 4, 2)])
def test_a_contact_sheet_has_rows_of_four(count, columns, rows):
    sheet = contact_sheet([('', np.zeros((30, 50, 3), dtype=np.uint8))] * count)
    assert sheet.shape[1] // TILE_WH[0] == columns
    assert sheet.shape[0] // TILE_WH[1] == rows


def test_a_picture_on_the_sheet_keeps_its_proportions():
    sheet = contact_sheet([('', np.zeros((100, 50, 3), dtype=np.uint8))])
    black = (sheet == 0).all(axis=2)
    assert np.ptp(np.nonzero(black)[0]) + 1 == 240
    assert np.ptp(np.nonzero(black)[1]) + 1 == 120


EXPECTED = {
    'astronaut.jpg': 'person', 'cameraman.jpg': 'person', 'car.jpg': 'car', 'cat_face.jpg': 'cat',
    'cat_lying.jpg': 'cat', 'dog.jpg': 'dog', 'parrot.jpg': 'bird'}
EVERYDAY = {'cocktail.jpg': 'wine glass', 'coffee.jpg': 'cup'}


@pytest.mark.parametrize('model, folder, expected', [
    ('', 'images', EXPECTED),
    ('ssdlite_mobilenet_v2_coco.onnx', 'everyday', EVERYDAY),
    ('ssdlite_mobilenet_v2_coco_int8_cpu.onnx', 'everyday', EVERYDAY)])
def test_the_shipped_model_finds_what_is_in_the_demo_images(model, folder, expected):
    try:
        model = find_model(model)
    except ConfigError as err:
        pytest.skip(str(err))
    detector = Detector(open_backend('auto', model, BackendOptions()))
    names = detector.contract.class_names
    best = {}
    for frame in open_source(shipped_path(f'config/demo/{folder}')):
        found = detector.detect([SourceImage(frame.image_bgr, 'bgr')])[0]
        best[frame.name] = names[found.labels[0]] if len(found) else 'nothing'
    assert best == expected


@pytest.mark.parametrize('folder, expected', [('images', EXPECTED), ('everyday', EVERYDAY)])
def test_every_demo_image_has_its_source_and_licence_beside_it(folder, expected):
    folder = shipped_path(f'config/demo/{folder}')
    licences = (folder / 'LICENSE.md').read_text()
    rows = {line.split('`')[1]: line for line in licences.splitlines() if line.startswith('| `')}
    assert set(rows) == {frame.name for frame in open_source(folder)} == set(expected)
    assert all('CC0 1.0' in row or 'public domain' in row for row in rows.values())
