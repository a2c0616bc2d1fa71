"""
The whole path on a small world: train, evaluate, export, predict, through the program itself.

Two hundred steps of a narrow network on one thread: 20 seconds of CPU time. Seeds 1 to 3 reach an
mAP@0.5 of 0.96, 1.00 and 1.00 on images that they never saw.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.synthetic import SHAPES, write_world
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import VOC_CLASSES
from mbv2ssd_train.data.sources.open import open_dataset

LEAST_MAP = 0.80
CONFIG = {
    'name': 'shapes',
    'seed': 1,
    'data': {'train': ['train'], 'val': 'val', 'classes': list(SHAPES)},
    'model': {'input_size_hw': [96, 128], 'width_mult': 0.35, 'extra_channels': [64, 64],
              'scales': [0.15, 0.3, 0.45, 0.6, 0.8], 'aspect_ratios': [2.0]},
    'augment': {'expand': 0, 'crop': 0.3, 'crop_min_scale': 0.7, 'crop_ious': [0.5],
                'photometric': 0},
    'optimizer': {'name': 'adamw', 'learning_rate': 0.003, 'backbone_factor': 1.0,
                  'weight_decay': 0.01, 'clip_norm': 10},
    'training': {'epochs': 10, 'batch_size': 8, 'ema_decay': 0.95, 'eval_every': 5,
                 'threads': 1}}


def run(*arguments):
    """Run a verb, which must end well."""
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope='module')
def learnt(tmp_path_factory):
    """A folder with the world, best.pt and model.onnx."""
    folder = tmp_path_factory.mktemp('learning')
    world = write_world(folder / 'world', seed=7, train=160, val=20, test=50)
    config = folder / 'shapes.yaml'
    config.write_text(yaml.safe_dump({**CONFIG, 'data': {**CONFIG['data'], 'root': str(world)}}))
    run('train', config, '--runs', folder / 'runs')
    best, = (folder / 'runs').glob('shapes_*/checkpoints/best.pt')
    best.replace(folder / 'best.pt')
    run('export', '--checkpoint', folder / 'best.pt', '--output', folder / 'model.onnx')
    return folder


@pytest.fixture(scope='module')
def figures(learnt):
    """What `eval --json` writes for each of the two files."""
    found = {}
    for name in ('best.pt', 'model.onnx'):
        output = learnt / f'{name}.json'
        run('eval', '--model', learnt / name, '--data', learnt / 'world', '--split', 'test',
            '--json', output)
        found[name] = json.loads(output.read_text())
    return found


@pytest.fixture(scope='module')
def predictions(learnt):
    """What `predict` writes for each of the two files, on the test images."""
    images = sorted((learnt / 'world/JPEGImages').glob('test*.png'))
    found = {}
    for name in ('best.pt', 'model.onnx'):
        output = learnt / f'found by {name}'
        run('predict', '--model', learnt / name, '--output', output, *images)
        found[name] = json.loads((output / 'detections.json').read_text())
    return found


@pytest.mark.slow
def test_it_learns(figures):
    assert figures['best.pt']['images'] == 50
    assert figures['best.pt']['map_50'] >= LEAST_MAP
    assert min(figures['best.pt']['ap_50'].values()) >= LEAST_MAP - 0.1


@pytest.mark.slow
def test_the_onnx_file_measures_what_the_checkpoint_measures(figures):
    for key in ('map_50', 'map_50_11point'):
        assert figures['model.onnx'][key] == pytest.approx(figures['best.pt'][key], abs=0.001)


@pytest.mark.slow
def test_the_onnx_file_finds_the_same_objects(predictions):
    pairs = [(found, expected) for name, image in predictions['best.pt'].items()
             for found, expected in zip(predictions['model.onnx'][name], image, strict=True)]
    assert len(pairs) > 50
    for found, expected in pairs:
        assert found['label'] == expected['label']
        assert found['score'] == pytest.approx(expected['score'], abs=1e-3)
        np.testing.assert_allclose(found['box_xyxy'], expected['box_xyxy'], atol=0.1)


@pytest.mark.slow
def test_what_it_finds_is_what_was_drawn(learnt, predictions):
    records = open_dataset(learnt / 'world', 'test', SHAPES).records
    right = 0
    for record in records:
        found = predictions['model.onnx'][Path(record.source).name]
        right += sorted(item['label'] for item in found) == sorted(
            SHAPES[label - 1] for label in record.labels)
    assert right >= 0.7 * len(records)


@pytest.mark.slow
def test_the_file_says_where_it_comes_from(learnt):
    from mbv2ssd_ros.backends import BackendOptions, open_backend
    contract = open_backend('onnxruntime', learnt / 'model.onnx', BackendOptions()).contract
    assert contract.object_names == SHAPES and contract.input_size_hw == (96, 128)
    assert contract.provenance.metric == 'map_50 on val'
    assert contract.provenance.metric_value >= LEAST_MAP
    assert contract.provenance.datasets == ('train',)
    assert set(SHAPES).isdisjoint(VOC_CLASSES)  # nothing of it comes from a default
