"""`data stats`: figures that one can count by hand."""

import json
import shlex

import numpy as np
import pytest

from helpers.synthetic import add_image, add_list
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.config.compose import parse_override
from mbv2ssd_train.data.report.statistics import measure
from mbv2ssd_train.data.report.statistics_plots import draw_statistics
from mbv2ssd_train.data.report.statistics_text import describe
from mbv2ssd_train.data.sources.open import open_dataset

CLASSES = ('bolt', 'nut', 'screw')


@pytest.fixture
def tree(tmp_path):
    """Two images of 300 x 200, one of 100 x 400 without objects."""
    add_image(tmp_path, 'a', np.full((200, 300, 3), 9, np.uint8), [
        ('bolt', (1, 1, 20, 10), 0),  # 20 x 10: small
        ('nut', (1, 1, 120, 100), 0),  # 120 x 100: large
        ('nut', (11, 21, 60, 120), 1)])  # 50 x 100: medium
    add_image(tmp_path, 'b', np.full((200, 300, 3), 99, np.uint8),
              [('nut', (1, 1, 300, 200), 0)])
    add_image(tmp_path, 'c', np.full((400, 100, 3), 50, np.uint8), [])
    add_list(tmp_path, 'all', 'abc')
    add_list(tmp_path, 'none', 'c')
    return tmp_path


def measured(tree, **model):
    return measure(open_dataset(tree, 'all', CLASSES), ModelConfig(**model))


def test_counts(tree):
    found = measured(tree).to_dict()
    assert (found['images'], found['objects'], found['difficult']) == (3, 4, 1)
    assert found['images_without_objects'] == 1
    assert {name: (own['images'], own['objects'], own['difficult'])
            for name, own in found['classes'].items()} == {
                'bolt': (1, 1, 0), 'nut': (2, 2, 1), 'screw': (0, 0, 0)}
    assert found['objects_per_image'] == {'0': 1, '1': 1, '3': 1}
    assert found['image_sizes_wh'] == {'300x200': 2, '100x400': 1}


def test_sizes_and_shapes_are_those_of_the_original_pixels(tree):
    statistics = measured(tree)
    np.testing.assert_allclose(statistics.sides_px,
                               [[20, 10], [120, 100], [50, 100], [300, 200]], atol=1e-3)
    assert statistics.buckets.tolist() == [0, 2, 1, 2]
    np.testing.assert_allclose(statistics.ratios, [2, 1.2, 0.5, 1.5], atol=1e-4)
    # 200, 12000, 5000 and 60000 of 60000 pixels
    np.testing.assert_allclose(statistics.shares, np.sqrt([1 / 300, 0.2, 1 / 12, 1]), atol=1e-5)
    assert statistics.to_dict()['shares_of_the_image']['<=0.1'] == 1


@pytest.mark.parametrize(('side', 'bucket'), [(31, 0), (32, 1), (95, 1), (96, 2)])
def test_buckets_begin_as_in_coco(tmp_path, side, bucket):
    add_image(tmp_path, 'a', np.zeros((200, 300, 3), np.uint8), [('bolt', (1, 1, side, side), 0)])
    add_list(tmp_path, 'all', 'a')
    assert measured(tmp_path).buckets.tolist() == [bucket]


def test_priors_are_tried_on_what_is_learnt(tree):
    """A prior for the box over the whole image only; difficult objects do not count."""
    found = measured(tree, scales=(0.01, 0.01, 0.01, 0.01, 0.01, 1.0), aspect_ratios=(1.01,),
                     input_size_hw=(32, 32)).to_dict()
    assert found['priors']['objects'] == 3
    assert found['priors']['covered'] == pytest.approx(1 / 3)
    assert found['classes']['nut']['covered'] == pytest.approx(1 / 2)
    assert found['classes']['bolt']['covered'] == 0
    assert found['classes']['screw']['covered'] is None
    assert found['priors']['levels'][-1]['cells_hw'] == [1, 1]
    assert sum(level['objects'] for level in found['priors']['levels']) == 3


def test_letterboxed_objects_are_seen_smaller(tree):
    """300 x 200 in 320 x 320 is 320 x 213, so two thirds high, in the middle."""
    statistics = measured(tree, resize_mode='letterbox')
    np.testing.assert_allclose(statistics.seen_xyxy[3], [0, 53 / 320, 1, 266 / 320], atol=1e-6)
    np.testing.assert_allclose(measured(tree).seen_xyxy[3], [0, 0, 1, 1])


def test_the_command_prints_and_writes_everything(tree, tmp_path, capsys):
    out = tmp_path / 'out'
    assert main(['data', 'stats', '--data', str(tree), '--split', 'all', '--classes', *CLASSES,
                 '--json', str(out / 'stats.json'), '--output', str(out)]) == 0
    text = capsys.readouterr().out
    assert 'all: 3 images, 1 of them without objects; 4 objects, 1 of them difficult' in text
    assert 'prior boxes at 320 x 320, stretch' in text
    assert json.loads((out / 'stats.json').read_text()) == measured(tree).to_dict()
    for name in ('classes', 'boxes', 'priors'):
        assert (out / f'{name}.png').read_bytes().startswith(b'\x89PNG')


def test_suggested_priors_are_taken_back_as_they_stand(tmp_path):
    tall = [('bolt', (x, y, x + 5, y + 59), 0) for x in range(1, 190, 12) for y in (1, 70, 140)]
    add_image(tmp_path, 'a', np.zeros((200, 200, 3), np.uint8), tall)
    add_list(tmp_path, 'all', 'a')
    found = measured(tmp_path, aspect_ratios=(2.0,))
    typed = shlex.split(' '.join(line for line in describe(found) if 'model.' in line))
    scales, ratios = (parse_override(word)['model'] for word in typed)
    assert len(scales['scales']) == 6 and max(ratios['aspect_ratios']) > 3


def test_the_priors_are_those_of_a_configuration(tree, tmp_path, capsys):
    path = tmp_path / 'own.yaml'
    path.write_text('name: x\ndata: {root: x, train: [a], val: b}\n'
                    'model: {input_size_hw: [96, 160]}\n')
    assert main(['data', 'stats', '--data', str(tree), '--split', 'all', '--classes', *CLASSES,
                 '--config', str(path)]) == 0
    assert 'prior boxes at 160 x 96' in capsys.readouterr().out


def test_the_classes_are_those_of_a_configuration_where_none_are_named(tree, tmp_path, capsys):
    path = tmp_path / 'own.yaml'
    path.write_text('name: x\ndata: {root: x, train: [a], val: b, classes: ['
                    + ', '.join(CLASSES) + ']}\n')
    assert main(['data', 'stats', '--data', str(tree), '--split', 'all', '--config', str(path)]
                ) == 0
    assert all(name in capsys.readouterr().out for name in CLASSES[:1])


def test_a_split_without_objects_is_described(tree, tmp_path, capsys):
    assert main(['data', 'stats', '--data', str(tree), '--split', 'none', '--classes', 'bolt',
                 '--output', str(tmp_path / 'out'), '--json', str(tmp_path / 's.json')]) == 0
    assert 'no object' in capsys.readouterr().out
    assert json.loads((tmp_path / 's.json').read_text())['priors']['covered'] is None


@pytest.mark.filterwarnings('error')
def test_objects_that_are_all_difficult_are_described(tmp_path):
    add_image(tmp_path, 'a', np.zeros((20, 30, 3), np.uint8), [('bolt', (1, 1, 9, 9), 1)])
    add_list(tmp_path, 'all', 'a')
    statistics = measured(tmp_path)
    assert any('all objects are difficult' in line for line in describe(statistics))
    json.dumps(statistics.to_dict(), allow_nan=False)
    names = [path.name for path in draw_statistics(statistics, tmp_path / 'out')]
    assert names == ['classes.png', 'boxes.png']
