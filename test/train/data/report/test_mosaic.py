"""Pictures of augmented batches and of detections."""

import threading

import cv2
import numpy as np
import torch

from helpers.model_settings import small_run
from helpers.synthetic import write_world
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.drawing import class_colour
from mbv2ssd_ros.core.metrics import GroundTruth
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_train.cli import main
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.data.report.mosaic import draw_batch, draw_results
from mbv2ssd_train.data.sources.open import open_dataset

HEIGHT, WIDTH, GAP = 240, 300, 4


def grey_batch(count, height=HEIGHT, width=WIDTH):
    """Only the last image has an object; the others have an empty place for one."""
    boxes, labels = torch.zeros((count, 1, 4)), torch.zeros((count, 1), dtype=torch.int64)
    boxes[-1, 0], labels[-1, 0] = torch.tensor([0.5, 0.5, 1.0, 1.0]), 2
    return Batch(torch.full((count, height, width, 3), 50, dtype=torch.uint8), boxes, labels,
                 torch.zeros((count, 1)).bool(), ('x',) * count)


def test_pictures_lie_in_rows_and_boxes_in_their_picture():
    drawn = draw_batch(grey_batch(5), ('bolt', 'nut'), columns=3)
    assert drawn.shape == (2 * HEIGHT + GAP, 3 * WIDTH + 2 * GAP, 3)
    # the fifth picture is the second of the second row; its box fills the lower right quarter
    corner = drawn[2 * HEIGHT + GAP - 1, 2 * WIDTH + GAP - 1]
    assert tuple(corner.tolist()) == class_colour('nut')
    assert (drawn[:HEIGHT, :WIDTH] == 50).all()
    assert (drawn[HEIGHT:HEIGHT + GAP] == 255).all() and (drawn[:, WIDTH:WIDTH + GAP] == 255).all()


def test_the_image_is_drawn_in_its_own_colours():
    batch = grey_batch(1)
    batch.images[..., 0] = 200  # red, first in RGB and last in BGR
    assert draw_batch(batch, ('bolt', 'nut'), columns=1)[0, 0].tolist() == [50, 50, 200]


def test_small_pictures_are_enlarged_and_the_whole_is_about_square():
    # 80 x 100 pixels, three times as large; 16 of them in 4 rows of 4
    drawn = draw_batch(grey_batch(16, 80, 100), ('bolt', 'nut'))
    assert drawn.shape == (4 * HEIGHT + 3 * GAP, 4 * WIDTH + 3 * GAP, 3)


def test_preview_draws_the_first_batches_and_ends(tmp_path, capsys):
    write_world(tmp_path / 'world', train=9)
    config = tmp_path / 'config.yaml'
    config.write_text(small_run(tmp_path / 'world').to_yaml())
    threads = set(threading.enumerate())
    assert main(['data', 'preview', '--config', str(config), '--batches', '1', '--output',
                 str(tmp_path / 'out'), 'training.batch_size=3', 'augment.flip=1']) == 0
    assert set(threading.enumerate()) == threads
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['batch000.png']
    assert 'batch000.png' in capsys.readouterr().out
    picture = cv2.imread(str(tmp_path / 'out/batch000.png'))
    # three pictures of 64 x 96, four times as large, two in a row
    assert picture.shape == (2 * 256 + GAP, 2 * 384 + GAP, 3)


def test_detections_are_drawn_in_their_image(tmp_path):
    world = write_world(tmp_path, train=2, val=2)
    dataset = open_dataset(world, 'val', ('disc', 'square', 'triangle'))
    height, width = dataset.records[1].size_hw
    nothing = GroundTruth(np.empty((0, 4), np.float32), np.empty(0, np.intp), np.empty(0, bool))
    none = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.intp))
    # the lower right quarter, in pixels of the original; the other one scores too low
    some = Detections(
        np.array([[width / 2, height / 2, width, height], [0, 0, 9, 9]], np.float32),
        np.array([0.9, 0.3], np.float32), np.array([2, 1]))
    results = [ImageResult(0, 'a', dataset.records[0].size_hw, none, nothing),
               ImageResult(1, 'b', (height, width), some, nothing)]
    drawn = draw_results(dataset, results)
    assert drawn.shape == (340, 4 * 320 + 3 * GAP, 3)  # truth and detections of two images
    scale = 320 / max(height, width)
    bottom, right = round(height * scale) - 1, 3 * (320 + GAP) + round(width * scale) - 1
    assert tuple(drawn[bottom, right].tolist()) == class_colour('square')
    assert class_colour('disc') not in {tuple(p) for p in drawn.reshape(-1, 3).tolist()}
