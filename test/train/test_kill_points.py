"""A run that is killed at any moment and resumed ends with the weights of one that never was."""

import multiprocessing
import os
from pathlib import Path
import random
import signal
import sys
import time

import pytest
import torch

from helpers.model_settings import small_run
from helpers.synthetic import write_world
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.process.signals import Preempted
from mbv2ssd_train.run.checkpoint import load_checkpoint

POINTS = 20
# twelve steps in four epochs; a checkpoint at each step, an evaluation at every second epoch
TRAINING = {'epochs': 4, 'save_every': 1, 'eval_every': 2, 'log_every': 1}


def run(world, runs, began=None):
    """Train from the beginning, or from where an earlier process stopped."""
    torch.set_num_threads(1)
    config = small_run(world, training=TRAINING)
    if began is not None:
        began.send('loading')
    resume = any(Path(runs).glob('*/checkpoints/last.pt'))
    try:
        Trainer(config, Path(runs), resume).run()
    except Preempted as err:
        sys.exit(err.exit_code)


@pytest.fixture(scope='module')
def processes():
    """Processes that have imported everything before they are forked, and so begin at once."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['mbv2ssd_train.engine', 'helpers.model_settings'])
    return context


def start(processes, world, runs):
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=run, args=(world, runs, sender))
    process.start()
    receiver.recv()
    return process


@pytest.fixture(scope='module')
def uninterrupted(processes, tmp_path_factory):
    """Give the world, the last checkpoint of a whole run, and how long it took."""
    world = write_world(tmp_path_factory.mktemp('world'), train=12, val=3)
    runs = tmp_path_factory.mktemp('whole')
    process = start(processes, world, runs)
    began = time.monotonic()
    process.join(240)
    assert process.exitcode == 0
    return world, last_checkpoint(runs), time.monotonic() - began


def last_checkpoint(runs):
    path, = Path(runs).glob('*/checkpoints/last.pt')
    return load_checkpoint(path)


@pytest.mark.slow
@pytest.mark.parametrize('point', range(POINTS))
def test_the_weights_are_those_of_a_run_that_never_stopped(
        processes, uninterrupted, tmp_path, point):
    world, expected, duration_s = uninterrupted
    rng = random.Random(point)
    process = start(processes, world, tmp_path)
    process.join(rng.uniform(0, duration_s))
    if process.exitcode is None:
        os.kill(process.pid, (signal.SIGKILL, signal.SIGTERM)[point % 2])
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL, 143, -signal.SIGTERM)
    if process.exitcode:
        process = start(processes, world, tmp_path)
        process.join(240)
        assert process.exitcode == 0
    found = last_checkpoint(tmp_path)
    assert found.state == expected.state
    for name in ('model', 'averaged'):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], value) for key, value in theirs.items()), name
    ours, theirs = (one.learner['optimizer']['state'] for one in (found, expected))
    assert ours.keys() == theirs.keys() and len(theirs) > 100
    for index, state in theirs.items():
        assert all(torch.equal(ours[index][key], value) for key, value in state.items()), index
