"""The picture of an augmented batch."""

import numpy as np
import torch

from mbv2ssd_ros.core.drawing import class_colour
from mbv2ssd_train.data.batch import Batch
from mbv2ssd_train.data.mosaic import draw_batch

HEIGHT, WIDTH = 40, 60


def grey_batch(count):
    """Only the last image has an object; the others have an empty place for one."""
    boxes, labels = torch.zeros((count, 1, 4)), torch.zeros((count, 1), dtype=torch.int64)
    boxes[-1, 0], labels[-1, 0] = torch.tensor([0.5, 0.5, 1.0, 1.0]), 2
    return Batch(torch.full((count, HEIGHT, WIDTH, 3), 50, dtype=torch.uint8), boxes, labels,
                 torch.zeros((count, 1)).bool(), ('x',) * count)


def test_pictures_lie_in_rows_and_boxes_in_their_picture():
    drawn = draw_batch(grey_batch(5), ('bolt', 'nut'), columns=3)
    assert drawn.shape == (2 * HEIGHT, 3 * WIDTH, 3)
    # the fifth picture is the second of the second row; its box fills the lower right quarter
    corner = drawn[2 * HEIGHT - 1, 2 * WIDTH - 1]
    assert tuple(corner.tolist()) == class_colour('nut')
    assert (drawn[:HEIGHT] == 50).all()


def test_the_image_is_drawn_in_its_own_colours():
    batch = grey_batch(1)
    batch.images[..., 0] = 200  # red, first in RGB and last in BGR
    assert draw_batch(batch, ('bolt', 'nut'), columns=1)[0, 0].tolist() == [50, 50, 200]
    assert isinstance(draw_batch(batch, ('bolt', 'nut')), np.ndarray)
