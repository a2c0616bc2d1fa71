"""`mbv2ssd_train train`: which run it starts or resumes."""

import json
from pathlib import Path
import re
import shutil

import pytest

from helpers.model_settings import small_run
from helpers.synthetic import write_world
from mbv2ssd_train.cli import main
from mbv2ssd_train.run.folder import read_status


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Eight training images, two to measure on."""
    return write_world(tmp_path_factory.mktemp('world'), train=8, val=2)


def write_config(path, world, **sections):
    path.write_text(small_run(world, training={'epochs': 1}, **sections).to_yaml())
    return str(path)


@pytest.fixture
def finished(world, tmp_path):
    """A run that has ended, and the folder that it lies in."""
    config = write_config(tmp_path / 'c.yaml', world)
    assert main(['train', config, '--runs', str(tmp_path / 'runs')]) == 0
    folder, = (tmp_path / 'runs').iterdir()
    return folder


def test_resume_alone_takes_the_latest_run(world, finished, tmp_path, capsys):
    other = write_config(tmp_path / 'o.yaml', world, name='other')
    assert main(['train', other, '--runs', str(finished.parent)]) == 0
    capsys.readouterr()
    assert main(['train', '--resume', '--runs', str(finished.parent)]) == 0
    assert '/runs/other_' in capsys.readouterr().out


def test_the_data_of_a_run_may_lie_elsewhere(world, finished, tmp_path):
    moved = tmp_path / 'moved'
    moved.symlink_to(world)
    arguments = ['train', '--resume', '--runs', str(finished.parent)]
    assert main([*arguments, f'data.root={moved}']) == 0
    assert f'root: {moved}' in (finished / 'config.yaml').read_text()


def test_a_run_that_goes_on_stays_the_same_experiment(finished, capsys):
    assert main(['train', '--resume', 'seed=7', '--runs', str(finished.parent)]) == 1
    assert 'seed=7 would make it another experiment' in capsys.readouterr().err


def test_a_run_whose_configuration_was_changed_does_not_go_on(finished, tmp_path, capsys):
    changed = shutil.copytree(finished, tmp_path / finished.name) / 'config.yaml'
    changed.write_text(changed.read_text().replace('seed: 1', 'seed: 2'))
    assert main(['train', '--resume', '--runs', str(tmp_path)]) == 1
    assert 'or this is another version of the package' in capsys.readouterr().err


def test_resume_alone_needs_a_run(tmp_path, capsys):
    assert main(['train', '--resume', '--runs', str(tmp_path)]) == 1
    assert 'no run with a checkpoint' in capsys.readouterr().err


def test_a_run_from_elsewhere_goes_on_here(finished, tmp_path, capsys):
    assert main(['train', '--run-from', str(finished), '--runs', str(tmp_path / 'here')]) == 0
    copy = tmp_path / 'here' / finished.name
    assert read_status(copy).status == 'success'
    assert (copy / 'checkpoints' / 'last.pt').is_file()


@pytest.mark.parametrize('arguments, match', [
    ([], 'no configuration given; config/train/ has examples'),
    (['training.epochs=3'], 'no configuration given'),
    (['--run-from', 'there', '--print-config'], '--run-from trains'),
    (['c.yaml', '--run-from', 'there'], 'uses the configuration of the run; leave c.yaml out'),
    (['runs/a/last.pt', '--resume'], 'runs/a/last.pt: is a model, not a configuration')])
def test_contradictions_are_explained(arguments, match, capsys):
    assert main(['train', *arguments]) == 1
    assert match in capsys.readouterr().err


def test_a_run_that_goes_on_does_not_need_the_weights_it_began_with(world, finished, tmp_path):
    weights = tmp_path / 'begin.pt'
    weights.write_bytes((finished / 'checkpoints' / 'best.pt').read_bytes())
    config = write_config(tmp_path / 'w.yaml', world, name='second',
                          model={'weights': str(weights)})
    runs = str(tmp_path / 'runs2')
    assert main(['train', config, '--runs', runs]) == 0
    weights.unlink()
    assert main(['train', config, '--runs', runs, '--resume']) == 0
    noted, = Path(runs).glob('*/arguments.json')
    first, second = json.loads(noted.read_text())
    assert re.match(rf'{weights} \(sha256 [0-9a-f]{{12}}\): \d+ of', first['begun_with'])
    assert not second['begun_with']


def test_patience_ends_a_run_that_gets_no_better(world, tmp_path, capsys):
    path = tmp_path / 'c.yaml'
    # a rate so small that no evaluation can be better than the first
    path.write_text(small_run(world, optimizer={'learning_rate': 1e-12}, training={
        'epochs': 50, 'eval_every': 1, 'patience': 2}).to_yaml())
    assert main(['train', str(path), '--runs', str(tmp_path / 'runs')]) == 0
    out = capsys.readouterr().out
    assert 'no better mAP in 2 evaluations (training.patience): the run ends' in out
    assert 'epoch 3:' in out and 'epoch 4:' not in out
    assert main(['train', str(path), '--runs', str(tmp_path / 'runs'), '--resume']) == 0
    assert 'epoch' not in capsys.readouterr().out.split('learning rates')[1]


def test_runs_are_listed_with_what_they_are_about(world, tmp_path, capsys):
    for name, tags in (('a', ['small']), ('b', [])):
        config = write_config(tmp_path / 'c.yaml', world, name=name, experiment={
            'description': f'what {name} tries', 'author': 'somebody', 'tags': tags})
        assert main(['train', config, '--runs', str(tmp_path / 'runs')]) == 0
    capsys.readouterr()
    assert main(['runs', '--runs', str(tmp_path / 'runs'), '--tag', 'small']) == 0
    out = capsys.readouterr().out
    assert 'what a tries' in out and 'what b tries' not in out
    assert main(['runs', '--runs', str(tmp_path / 'runs'), '--json']) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row['experiment']['description'] for row in rows) == [
        'what a tries', 'what b tries']
