"""The throughput benchmark of training."""

import json

import pytest

from helpers.model_settings import small_run
from helpers.synthetic import write_world
from mbv2ssd_train.benchmark import measure_training
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import load_config


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Write a run of eleven batches an epoch."""
    world = write_world(tmp_path_factory.mktemp('world'), train=44, val=1)
    path = tmp_path_factory.mktemp('config') / 'c.yaml'
    path.write_text(small_run(world).to_yaml())
    return path


def test_both_sides_are_measured_in_one_run(config, tmp_path, capsys):
    found = tmp_path / 'b.json'
    assert main(['benchmark', '--train', str(config), '--rounds', '2', '--steps', '3',
                 '--json', str(found)]) == 0
    figures = json.loads(found.read_text())
    assert (figures['rounds'], figures['steps'], figures['device']) == (2, 3, 'cpu')
    assert figures['train_images_per_s'] > 0 and figures['resident_images_per_s'] > 0
    out = capsys.readouterr().out
    assert f'{figures["ratio"]:.3f}   medians of 2 rounds of 3 steps, batch 4, on cpu' in out


def test_an_epoch_that_is_short_goes_on_with_the_next_one(config):
    # three batches an epoch, eight before anything is measured
    found = measure_training(load_config(config, ('training.batch_size=14',)), rounds=1, steps=2)
    assert found.train_images_per_s > 0


def test_no_rounds_are_refused(config, capsys):
    assert main(['benchmark', '--train', str(config), '--rounds', '0']) == 1
    assert '--rounds 0 and --steps 20 must be 1 or more' in capsys.readouterr().err
