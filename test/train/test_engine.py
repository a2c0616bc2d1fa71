"""Runs: exact resume, signals, what is refused, and what a run leaves behind."""

import dataclasses
import errno
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rich.progress
import torch
import yaml

from helpers.model_settings import small_run
from helpers.synthetic import add_image, add_list, SHAPES, write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.learner import NotFiniteError
from mbv2ssd_train.process.distributed import ProcessLostError
from mbv2ssd_train.process.signals import Preempted, StopRequest
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.training_data import refuse_single_images

# three steps an epoch, nine in all, evaluated after the second and the last epoch
RECIPES = {
    'sgd, everything learns': {
        'optimizer': {'name': 'sgd', 'learning_rate': 0.02}, 'training': {'epochs': 3}},
    'adamw in bf16, frozen statistics': {
        'training': {'epochs': 3, 'precision': 'bf16', 'freeze_bn': True, 'freeze_blocks': 2}}}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Twelve training images, three to measure on."""
    return write_world(tmp_path_factory.mktemp('world'), train=12, val=3)


def trainer(world, runs, resume=False, **sections):
    return Trainer(small_run(world, **sections), runs, resume)


@pytest.fixture(scope='module')
def uninterrupted(world, tmp_path_factory):
    """Give the last checkpoint of a recipe's whole run, and the mAPs measured on the way."""
    @functools.cache
    def run(recipe):
        whole = trainer(world, tmp_path_factory.mktemp('whole'), **RECIPES[recipe])
        whole.run()
        return load_checkpoint(whole.folder.last), measured(whole.folder)
    return run


def measured(folder):
    lines = (folder.path / 'metrics.jsonl').read_text().splitlines()
    return [(line['step'], line['map_50']) for line in map(json.loads, lines) if 'map_50' in line]


def status(folder):
    return json.loads((folder.path / 'status.json').read_text())


def tensors_of(checkpoint):
    """Every tensor of a checkpoint by its path."""
    def walk(value, path):
        if isinstance(value, torch.Tensor):
            yield path, value
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from walk(item, (*path, key))
    return dict(walk({'model': checkpoint.model, 'averaged': checkpoint.averaged,
                      'learner': checkpoint.learner, 'random': checkpoint.random}, ()))


def assert_bitwise_equal(found, expected):
    ours, theirs = tensors_of(found), tensors_of(expected)
    assert ours.keys() == theirs.keys() and len(ours) > 700
    for path, value in theirs.items():
        assert torch.equal(ours[path], value), path
    assert found.state == expected.state


def run_until(trainer, step, stop):
    """Run and do `stop` during a step."""
    real = trainer.learner.learn

    def learn(batch):
        result = real(batch)
        if trainer.learner.step == step:
            stop()
        return result
    trainer.learner.learn = learn
    trainer.run()


# in an epoch, at its end, where it is evaluated, at the very end
@pytest.mark.parametrize('name, step', [
    *(('sgd, everything learns', step) for step in (1, 3, 6, 9)),
    ('adamw in bf16, frozen statistics', 5)])
def test_a_run_that_a_signal_stopped_goes_on_bit_for_bit(
        uninterrupted, world, tmp_path, name, step):
    recipe, (expected, maps) = RECIPES[name], uninterrupted(name)
    first = trainer(world, tmp_path, **recipe)
    with pytest.raises(Preempted):
        run_until(first, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert status(first.folder)['status'] == 'preempted'
    assert load_checkpoint(first.folder.last).state['step'] == step
    second = trainer(world, tmp_path, resume=True, **recipe)
    second.run()
    assert status(second.folder)['status'] == 'success'
    assert_bitwise_equal(load_checkpoint(second.folder.last), expected)
    assert sorted(set(measured(second.folder))) == maps


def test_a_run_that_crashed_goes_on_from_its_last_checkpoint(uninterrupted, world, tmp_path):
    expected, maps = uninterrupted('sgd, everything learns')
    recipe = RECIPES['sgd, everything learns']
    recipe = {**recipe, 'training': {**recipe['training'], 'save_every': 2}}

    def crash():
        raise MemoryError

    first = trainer(world, tmp_path, **recipe)
    with pytest.raises(MemoryError):
        run_until(first, 5, crash)
    assert status(first.folder)['status'] == 'failed'
    second = trainer(world, tmp_path, resume=True, **recipe)
    assert second.state.step == 4
    second.run()
    assert_bitwise_equal(load_checkpoint(second.folder.last), expected)
    assert sorted(set(measured(second.folder))) == maps


def test_a_process_that_was_lost_is_the_reason_of_the_end(world, tmp_path):
    run = trainer(world, tmp_path)

    def lose():
        raise RuntimeError('[pair.cc:553] Connection closed by peer [127.0.0.1]:39622')

    with pytest.raises(ProcessLostError):
        run_until(run, 1, lose)
    assert status(run.folder)['reason'].startswith("ProcessLostError('process 0 of 1 lost its")


def test_a_signal_in_an_evaluation_does_not_wait_for_its_end(uninterrupted, world, tmp_path):
    name = 'sgd, everything learns'
    first = trainer(world, tmp_path, **RECIPES[name])
    real = first.evaluate

    def evaluate():
        os.kill(os.getpid(), signal.SIGTERM)
        return real()
    first.evaluate = evaluate
    with pytest.raises(Preempted):
        first.run()
    assert load_checkpoint(first.folder.last).state['step'] == 6
    second = trainer(world, tmp_path, resume=True, **RECIPES[name])
    second.run()
    expected, maps = uninterrupted(name)
    assert_bitwise_equal(load_checkpoint(second.folder.last), expected)
    assert measured(second.folder) == maps


def test_a_signal_gives_back_its_handlers_and_its_exit_code(world, tmp_path):
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    run = trainer(world, tmp_path)
    with pytest.raises(Preempted, match='stopped by SIGINT.*--resume') as caught:
        run_until(run, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert caught.value.exit_code == 130
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_closed_terminal_asks_as_other_signals_do(world, tmp_path, monkeypatch):
    def stop(self):
        raise OSError(errno.EIO, 'Input/output error')
    monkeypatch.setattr(rich.progress.Progress, 'stop', stop)
    run = trainer(world, tmp_path)
    with pytest.raises(Preempted) as caught:
        run_until(run, 2, lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert caught.value.exit_code == 129
    assert load_checkpoint(run.folder.last).state['step'] == 2
    assert status(run.folder)['status'] == 'preempted'


def test_under_nohup_a_closed_terminal_asks_for_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.signum
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_the_run_at_once(world, tmp_path):
    run = trainer(world, tmp_path, training={'save_every': 1})

    def interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as caught:
        run_until(run, 2, interrupt)
    assert caught.value.code == 130
    assert load_checkpoint(run.folder.last).state['step'] == 1
    assert status(run.folder)['status'] == 'preempted'
    assert status(run.folder)['reason'].startswith('stopped at once by a second signal')


def test_deterministic_runs_do_not_pay_for_memory_that_is_filled_twice(world, tmp_path):
    torch.utils.deterministic.fill_uninitialized_memory = True
    trainer(world, tmp_path)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


def write_config(path, world, **sections):
    path.write_text(small_run(world, **sections).to_yaml())
    return path


def test_sigterm_ends_the_program_with_143_and_a_state_to_go_on_from(world, tmp_path):
    config = write_config(tmp_path / 'c.yaml', world, training={'epochs': 2000, 'eval_every': 999})
    runs = tmp_path / 'runs'
    process = subprocess.Popen(
        [sys.executable, '-m', 'mbv2ssd_train', 'train', str(config), '--runs', str(runs)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(runs.glob('*/status.json')):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.strip().endswith('stopped by SIGTERM; the state is saved, resume with --resume')
    assert 'Traceback' not in errors
    folder, = runs.iterdir()
    assert json.loads((folder / 'status.json').read_text())['status'] == 'preempted'
    assert load_checkpoint(folder / 'checkpoints' / 'last.pt').state['step'] >= 1


def test_a_run_leaves_its_whole_story(world, tmp_path):
    run = trainer(world, tmp_path, training={'epochs': 2})
    run.run()
    found = {str(path.relative_to(run.folder.path)) for path in run.folder.path.rglob('*.*')}
    assert found >= {'config.yaml', 'fingerprints.json', 'metrics.jsonl', 'status.json',
                     'checkpoints/last.pt', 'checkpoints/best.pt'}
    assert not [name for name in found if name.endswith('.partial')]
    assert run.folder.path.name == f'small_{run.config.recipe_fingerprint()}'
    assert yaml.safe_load((run.folder.path / 'config.yaml').read_text()) == yaml.safe_load(
        run.config.to_yaml())
    assert json.loads((run.folder.path / 'fingerprints.json').read_text()) == {
        'arch': run.config.arch_fingerprint(), 'recipe': run.config.recipe_fingerprint()}
    assert status(run.folder)['best_map_50'] == run.state.best_map
    best = load_checkpoint(run.folder.best)
    assert best.map_50 == run.state.best_map and best.parsed_config() == run.config


def test_a_batch_that_the_data_do_not_fill_counts_its_images(world, tmp_path):
    run = trainer(world, tmp_path, training={'batch_size': 100, 'log_every': 1})
    run.run()
    lines = map(json.loads, (run.folder.path / 'metrics.jsonl').read_text().splitlines())
    line = next(line for line in lines if line['kind'] == 'train')
    assert line['positives_mean'] == pytest.approx(line['positives'] / 12)  # not a hundredth


def test_metrics_are_json_that_every_reader_takes(world, tmp_path):
    run = trainer(world, tmp_path, data={'classes': [*SHAPES, 'never seen']})
    run.run()

    def refuse(constant):
        raise AssertionError(constant)

    for line in (run.folder.path / 'metrics.jsonl').read_text().splitlines():
        found = json.loads(line, parse_constant=refuse)
    assert found['ap_50']['never seen'] is None and found['split'] == 'val'


def test_the_same_experiment_is_not_begun_twice(world, tmp_path):
    trainer(world, tmp_path).run()
    with pytest.raises(ConfigError, match='small_.*this experiment exists; add --resume'):
        trainer(world, tmp_path)


def test_there_must_be_something_to_resume(world, tmp_path):
    with pytest.raises(ConfigError, match=r'last\.pt: nothing to resume; leave --resume out'):
        trainer(world, tmp_path, resume=True)


def test_the_checkpoint_of_another_run_is_not_gone_on_with(world, tmp_path):
    run, other = trainer(world, tmp_path), trainer(world, tmp_path, seed=2)
    for each in (run, other):
        each.save()
    run.folder.last.write_bytes(other.folder.last.read_bytes())
    recipes = (each.config.recipe_fingerprint() for each in (other, run))
    with pytest.raises(DataError, match=r'last\.pt: fingerprints .*{}.*{}.*another run'.format(
            *recipes)):
        trainer(world, tmp_path, resume=True)


def test_imported_weights_are_not_a_run_to_go_on_with(world, tmp_path):
    run = trainer(world, tmp_path)
    run.save()
    checkpoint = dataclasses.replace(load_checkpoint(run.folder.last), learner={}, random={})
    checkpoint.save(run.folder.last)
    with pytest.raises(DataError, match=r'last\.pt: imported weights, not a run.*model\.weights'):
        trainer(world, tmp_path, resume=True)


def test_a_run_that_never_got_to_a_checkpoint_begins_afresh(world, tmp_path):
    run = trainer(world, tmp_path)
    run.folder.metrics.append({'step': 50, 'class_loss': 1.0})
    trainer(world, tmp_path).run()
    assert '"step": 50' not in (run.folder.path / 'metrics.jsonl').read_text()


def test_a_weight_that_is_nan_names_the_images_and_saves_nothing(world, tmp_path):
    run = trainer(world, tmp_path)
    run.learner.network.loc_heads[0][1].weight.data.fill_(math.nan)
    with pytest.raises(NotFiniteError, match=r'step 0: the loss is not finite on .*train\d+\.png'):
        run.run()
    assert status(run.folder)['status'] == 'failed'
    assert not list(run.folder.path.rglob('*.pt'))


def test_a_prediction_that_is_nan_names_its_image_alone(world, tmp_path):
    run = trainer(world, tmp_path)
    batch = next(run.loader.epoch(0))
    broken = next(k for k, labels in enumerate(batch.labels) if labels.any())
    poison = torch.zeros(len(batch), 1, 1)
    poison[broken] = math.nan
    run.learner.network.register_forward_hook(
        lambda module, images, found: (found[0] + poison, found[1]))
    before = {n: value.clone() for n, value in run.learner.network.named_parameters()}
    with pytest.raises(NotFiniteError) as caught:
        run.learner.learn(batch)
    assert [source in str(caught.value) for source in batch.sources] == [
        k == broken for k in range(len(batch))]
    assert all(torch.equal(value, before[n])
               for n, value in run.learner.network.named_parameters())
    assert run.state.step == 0


def test_a_gradient_that_overflows_changes_no_weight(world, tmp_path):
    run = trainer(world, tmp_path)
    before = {name: value.clone() for name, value in run.learner.network.named_parameters()}
    run.learner.network.loc_heads[0][1].bias.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(NotFiniteError, match=r'step 0: the gradient is (nan|inf); images: .*png'):
        run.learner.learn(next(run.loader.epoch(0)))
    assert all(torch.equal(value, before[name])
               for name, value in run.learner.network.named_parameters())


def test_no_checkpoint_ever_holds_a_nan(world, tmp_path):
    run = trainer(world, tmp_path, training={'save_every': 1},
                  optimizer={'name': 'sgd', 'learning_rate': 1e38})
    with pytest.raises(NotFiniteError):
        run.run()
    assert status(run.folder)['status'] == 'failed'
    for path in run.folder.path.rglob('*.pt'):
        for key, value in load_checkpoint(path).model.items():
            assert torch.isfinite(value).all(), key


def test_a_broken_image_keeps_what_was_learnt_and_can_be_mended(tmp_path):
    world = write_world(tmp_path / 'world', train=12, val=3)
    run = trainer(world, tmp_path / 'runs', data={'keep': 'none'})
    last = list(run.loader.epoch(0))[-1].sources[-1]
    with open(last, 'rb') as file:
        content = file.read()
    with open(last, 'wb') as file:
        file.write(content[:len(content) // 2])
    with pytest.raises(DataError, match=f'{last}: .*truncated'):
        run.run()
    assert status(run.folder)['status'] == 'failed' and run.state.step > 0
    with open(last, 'wb') as file:
        file.write(content)
    again = trainer(world, tmp_path / 'runs', resume=True)
    assert again.state.step == run.state.step
    again.run()


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_blocks_that_are_frozen_stay_as_they_are(world, tmp_path):
    run = trainer(world, tmp_path, training={'freeze_blocks': 3})
    features = run.learner.network.backbone.features
    frozen, learning = state_of(features[:3]), state_of(features[3:])
    run.learner.learn(next(run.loader.epoch(0)))
    assert all(torch.equal(value, frozen[name])
               for name, value in features[:3].state_dict().items())
    assert not any(torch.equal(value, learning[name])
                   for name, value in features[3:].state_dict().items())


def test_frozen_statistics_stay_while_scales_learn(world, tmp_path):
    run = trainer(world, tmp_path, training={'freeze_bn': True})
    before = state_of(run.learner.network)
    run.learner.learn(next(run.loader.epoch(0)))
    for name, value in run.learner.network.state_dict().items():
        if name.startswith('backbone.') or name.endswith('running_mean'):
            stays = name.startswith('backbone.') and name.endswith(
                ('running_mean', 'running_var', 'num_batches_tracked'))
            assert torch.equal(value, before[name]) == stays, name


def test_the_loss_goes_down_on_one_batch(world, tmp_path):
    run = trainer(world, tmp_path, training={'epochs': 10})
    batch = next(run.loader.epoch(0))
    losses = [run.learner.learn(batch).loss for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_averaged_weights_are_evaluated(world, tmp_path):
    run = trainer(world, tmp_path)
    run.learner.learn(next(run.loader.epoch(0)))
    before = run.evaluate()
    for parameter in run.learner.network.parameters():
        parameter.data.fill_(math.nan)
    assert run.evaluate().map_50 == before.map_50


def empty(tree, *splits):
    """Add splits of two images without objects each."""
    for split in splits:
        for number in range(2):
            add_image(tree, f'{split}{number}', np.full((20, 30, 3), 90, np.uint8), [])
        add_list(tree, split, [f'{split}{number}' for number in range(2)])


def test_images_without_objects_are_learnt_from(tmp_path):
    world = write_world(tmp_path / 'world', train=2, val=1)
    empty(world, 'negatives')
    run = trainer(world, tmp_path, data={'train': ['train', 'negatives']})
    run.run()
    assert run.state.step == 2


@pytest.mark.parametrize('data, match', [
    ({'train': ['none']}, 'no object in none .*nothing to train on'),
    ({'val': 'none'}, 'no object in none .*choose another data.val'),
    ({'train': ['one']}, 'one image in one; BatchNorm needs two'),
    ({'val': 'train@0/4'}, r'3 images are both in the training data \(train\) and in train@0/4'),
    ({'root': 'nowhere'}, 'nowhere: no such data folder')])
def test_data_that_nothing_can_come_of_are_refused(tmp_path, data, match):
    world = write_world(tmp_path / 'world', train=12, val=3, one=1)
    empty(world, 'none')
    with pytest.raises(DataError, match=match):
        trainer(world, tmp_path / 'runs', data=data)
    assert not (tmp_path / 'runs').exists()


def test_training_through_the_program_says_what_comes_next(world, tmp_path, capsys):
    config = write_config(tmp_path / 'c.yaml', world)
    assert main(['train', str(config), '--runs', str(tmp_path / 'runs')]) == 0
    out = capsys.readouterr().out
    assert 'next: mbv2ssd_train export --checkpoint' in out
    assert 'mAP@0.5' in out and 'on val, 3 images' in out


@pytest.mark.parametrize('training, processes', [
    ({'batch_size': 4, 'accumulate': 4}, 1), ({'batch_size': 4, 'accumulate': 9}, 1),
    ({'batch_size': 2}, 2), ({'batch_size': 6, 'accumulate': 2}, 2),
    ({'batch_size': 4, 'accumulate': 3, 'sync_bn': True}, 1)])
def test_one_image_at_once_is_too_few_for_a_map_of_one_cell(training, processes):
    with pytest.raises(ConfigError, match=r'leaves one image in a part: .*one cell.*fewer parts'):
        refuse_single_images(small_run('d', training=training), 12, processes)


@pytest.mark.parametrize('sections, processes', [
    ({'training': {'batch_size': 4, 'accumulate': 2}}, 1),
    ({'training': {'batch_size': 2, 'sync_bn': True}}, 2),
    # its last map has 1 x 2 cells
    ({'training': {'batch_size': 2}, 'model': {'extra_channels': [32], 'scales': [
        0.15, 0.3, 0.45, 0.6]}}, 2)])
def test_two_values_are_enough(sections, processes):
    refuse_single_images(small_run('d', **sections), 12, processes)


def test_few_images_make_small_parts():
    config = small_run('d', training={'batch_size': 8, 'accumulate': 3})
    refuse_single_images(config, 8, 1)
    with pytest.raises(ConfigError, match='training.batch_size 8, shared by 1 processes'):
        refuse_single_images(config, 5, 1)
