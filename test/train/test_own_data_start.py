"""What is wrong with own data ends a run at its start."""

import pytest

from helpers.synthetic import SHAPES, write_world
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import parse_config
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.training_data import open_datasets

CONFIG = '''
name: own
data: {{root: "{root}", train: [train], val: val, test: {test}, classes: [{classes}]}}
model: {{input_size_hw: [64, 64]}}
augment: {{min_box_px: {least}}}
training: {{epochs: 1, batch_size: 2, threads: 1}}
'''


@pytest.fixture
def world(tmp_path):
    return write_world(tmp_path / 'world', train=4, val=2, test=2)


def config(root, test='test', least=2):
    return parse_config(CONFIG.format(root=root, test=test, least=least,
                                      classes=', '.join(SHAPES)), 'own.yaml')


def test_sound_data_are_opened(world):
    train, val = open_datasets(config(world))
    assert (len(train[0]), len(val)) == (4, 2)


@pytest.mark.parametrize(('test', 'message'), [
    ('train', '4 images are both in the training data'), ('val', '2 images are both'),
    ('tset', r'tset\.txt: no such list')])
def test_a_wrong_test_split(world, test, message):
    with pytest.raises(DataError, match=message):
        open_datasets(config(world, test))


def test_objects_that_are_all_too_small(world):
    # the largest shape has 47 pixels of 90 x 120: 34 high and 26 wide at 64 x 64
    with pytest.raises(DataError, match='every object in train has a side below augment.min_box'):
        open_datasets(config(world, least=30))


def test_a_broken_validation_image(world, tmp_path):
    (world / 'JPEGImages/val0001.png').write_bytes(b'no picture')
    with pytest.raises(DataError, match='val0001.png: does not decode'):
        Trainer(config(world), tmp_path / 'runs')
