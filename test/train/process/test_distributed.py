"""Two processes learn what one does, and measure the same."""

import json
import os
from pathlib import Path
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from helpers.model_settings import small_run
from helpers.paths import ROOT
from helpers.synthetic import write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError, Mbv2SsdError
from mbv2ssd_train.config import load_config
from mbv2ssd_train.data.loading.loader import TrainLoader
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.model.sync_batch_norm import SyncBatchNorm2d
from mbv2ssd_train.process.distributed import choose_device, join_world, World
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.training_data import open_datasets

SHIPPED = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'
# extras and heads with BatchNorm over both processes; seven images to measure on, which two cannot
# share evenly
TRAINING = {'epochs': 2, 'batch_size': 8, 'eval_every': 1, 'sync_bn': True, 'freeze_bn': True,
            'log_every': 1}


def train(config, runs, launcher):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, *launcher, '-m', 'mbv2ssd_train', 'train', str(config),
         '--runs', str(runs)], capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    folder, = Path(runs).iterdir()
    lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
    return folder, list(lines), done.stdout


@pytest.fixture(scope='module')
def one_and_two(tmp_path_factory):
    """Give folder, metrics and output of the same experiment on one and on two processes."""
    world = write_world(tmp_path_factory.mktemp('world'), train=24, val=7)
    config = tmp_path_factory.mktemp('config') / 'c.yaml'
    teacher = Trainer(small_run(world), tmp_path_factory.mktemp('teacher'))
    teacher.save()
    # Six batches at nearly the same weights. At a real rate rounding would grow: 1e-7 in the
    # weights is 1e-7 in the next loss, then another negative is the hardest, and it is 1e-2.
    config.write_text(small_run(
        world, training=TRAINING, optimizer={'name': 'sgd', 'learning_rate': 1e-6},
        distill={'teacher': str(teacher.folder.last)},
        model={'width_mult': 1.0, 'stride2_padding': 'tensorflow',
               'backbone_weights': str(SHIPPED)}).to_yaml())
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    return [train(config, tmp_path_factory.mktemp(name), launcher)
            for name, launcher in (('one', []), ('two', torchrun))]


@pytest.mark.slow
def test_the_losses_are_the_same_within_rounding(one_and_two):
    one, two = ([line for line in lines if line['kind'] == 'train']
                for _, lines, _ in one_and_two)
    assert [line['step'] for line in one] == [line['step'] for line in two] == [1, 2, 3, 4, 5, 6]
    for key, tolerance in (('class_loss', 1e-4), ('box_loss', 1e-4), ('teacher_loss', 1e-4),
                           ('gradient_norm', 1e-3)):
        np.testing.assert_allclose([line[key] for line in two], [line[key] for line in one],
                                   rtol=tolerance)
    assert len({line['loss'] for line in one}) == 6
    assert [line['positives'] for line in one] == [line['positives'] for line in two]


@pytest.mark.slow
def test_the_weights_are_the_same_within_rounding(one_and_two):
    (one, _, _), (two, _, _) = one_and_two
    ours, theirs = (load_checkpoint(folder / 'checkpoints' / 'last.pt') for folder in (one, two))
    assert theirs.state['step'] == ours.state['step'] == 6
    for name, value in ours.model.items():
        torch.testing.assert_close(theirs.model[name], value, rtol=1e-4, atol=1e-5)


def join(rank, size, port):
    """Join the world as torchrun would have it."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size),
                      MASTER_ADDR='localhost', MASTER_PORT=str(port))
    return join_world()


def free_port():
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def evaluate_share(rank, size, port, runs, out):
    """Evaluate the last checkpoint of a run in one of several processes."""
    with join(rank, size, port) as world:
        path, = Path(runs).glob('*/config.yaml')
        result = Trainer(load_config(path), Path(runs), resume=True, world=world).evaluate()
        Path(f'{out}_{rank}.json').write_text(json.dumps([result.images, result.map_50]))


@pytest.mark.slow
def test_the_same_map_is_measured(one_and_two, tmp_path):
    runs = one_and_two[0][0].parent
    for size, name in ((1, 'one'), (2, 'two')):
        multiprocessing.spawn(
            evaluate_share, (size, free_port(), str(runs), f'{tmp_path}/{name}'), nprocs=size)
    expected, first, second = (json.loads((tmp_path / f'{name}.json').read_text())
                               for name in ('one_0', 'two_0', 'two_1'))
    assert expected[0] == 7 and expected[1] > 0
    assert first == second == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_one_process_alone_talks(one_and_two):
    (_, _, one), (_, _, two) = one_and_two
    assert two.count('best mAP@0.5') == one.count('best mAP@0.5') == 1


def refuse(rank):
    if rank == 1:
        raise DataError('0001.png is broken')


def message_of(work):
    """Return what an error says."""
    with pytest.raises(Mbv2SsdError) as caught:
        work()
    return str(caught.value)


def compute_share(rank, port, folder):
    """Sum, gather and normalise in one of two processes."""
    with join(rank, 2, port) as world:
        norm = SyncBatchNorm2d(2)
        images = torch.load(f'{folder}/images.pt')[rank * 2:rank * 2 + 2].requires_grad_()
        normed = norm(images)
        (normed * normed.detach().sign().cumsum(3)).sum().backward()
        grads = [norm.weight.grad, norm.bias.grad]
        averaged = torch.tensor([float(rank)])
        world.average_([averaged])
        torch.save({'gathered': world.gather(list(world.share(range(5)))),
                    'largest': world.largest(rank * 15), 'averaged': averaged,
                    'sum': world.sum(torch.tensor(rank + 1.0)),
                    'refused': message_of(lambda: world.together(lambda: refuse(rank))),
                    'together': world.together(lambda: rank * 10),
                    'normed': normed.detach(), 'image_grad': images.grad,
                    'grads': [world.sum(grad) for grad in grads],
                    'statistics': [norm.running_mean, norm.running_var]}, f'{folder}/{rank}.pt')


@pytest.fixture(scope='module')
def shares(tmp_path_factory):
    """Give the images, and what each of two processes made of its two."""
    folder = tmp_path_factory.mktemp('shares')
    images = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(1)) * 3 + 7
    torch.save(images, folder / 'images.pt')
    multiprocessing.spawn(compute_share, (free_port(), str(folder)), nprocs=2)
    return images, [torch.load(folder / f'{rank}.pt') for rank in range(2)]


def test_shares_leave_nothing_out_and_take_nothing_twice(shares):
    for found in shares[1]:
        assert sorted(found['gathered']) == [0, 1, 2, 3, 4]
        assert found['largest'] == 15 and found['sum'] == 3 and found['averaged'] == 0.5


def test_what_fails_in_one_process_fails_in_all(shares):
    assert [found['refused'] for found in shares[1]] == ['0001.png is broken'] * 2


def test_what_is_done_together_gives_each_process_its_own(shares):
    assert [found['together'] for found in shares[1]] == [0, 10]


def leave_alone(rank, port, folder):
    """End one of two processes without a word, and let the other wait for it."""
    def wait():
        with join(rank, 2, port) as world:
            world.sum(torch.ones(1))
            if rank == 1:
                os._exit(0)
            world.sum(torch.ones(1))
    Path(folder, 'message').write_text(message_of(wait))


def test_a_process_that_has_lost_another_says_so(tmp_path):
    multiprocessing.spawn(leave_alone, (free_port(), str(tmp_path)), nprocs=2)
    message = (tmp_path / 'message').read_text()
    assert message.startswith('process 0 of 2 lost its connection: ')


def train_share(rank, port, config, runs, broken):
    """Train in one of two processes, which an image ends that breaks after the start."""
    with join(rank, 2, port) as world:
        trainer = Trainer(load_config(config), Path(runs), world=world)
        Path(broken).write_bytes(b'')
        Path(f'{runs}/message{rank}').write_text(message_of(trainer.run))


@pytest.mark.slow
def test_an_image_that_one_process_cannot_read_ends_both_with_their_state_saved(tmp_path):
    world = write_world(tmp_path / 'world', train=12, val=2)
    config = small_run(world, data={'keep': 'none'})
    of_second = TrainLoader(open_datasets(config)[0], config, rank=1, world_size=2)
    broken = Path(list(of_second.epoch(0))[2].sources[0])
    (tmp_path / 'c.yaml').write_text(config.to_yaml())
    multiprocessing.spawn(train_share, (free_port(), str(tmp_path / 'c.yaml'), str(tmp_path),
                                        str(broken)), nprocs=2)
    messages = [(tmp_path / f'message{rank}').read_text() for rank in range(2)]
    assert messages[0] == messages[1] and messages[0].startswith(f'{broken}: ')
    last, = tmp_path.glob('small_*/checkpoints/last.pt')
    assert load_checkpoint(last).state['step'] == 2
    status = json.loads((last.parents[1] / 'status.json').read_text())
    assert status['status'] == 'failed' and str(broken) in status['reason']


def test_batch_norm_over_two_processes_is_that_over_their_images(shares):
    images, found = shares
    norm = nn.BatchNorm2d(2)
    images = images.clone().requires_grad_()
    expected = norm(images)
    (expected * expected.detach().sign().cumsum(3)).sum().backward()
    torch.testing.assert_close(torch.cat([f['normed'] for f in found]), expected.detach())
    torch.testing.assert_close(
        torch.cat([f['image_grad'] for f in found]), images.grad, atol=1e-4, rtol=1e-4)
    for one in found:
        torch.testing.assert_close(one['grads'], [norm.weight.grad, norm.bias.grad],
                                   atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one['statistics'], [norm.running_mean, norm.running_var])


def test_one_process_alone_is_a_world():
    world, tensor = World(), torch.tensor([2.0])
    assert world.is_main and world.gather([1, 2]) == [1, 2] and world.largest(3) == 3
    assert world.sum(tensor) is tensor and list(world.share(range(3))) == [0, 1, 2]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_a_gpu_that_is_not_there_is_named():
    assert choose_device('auto').type == 'cpu'
    with pytest.raises(ConfigError, match=r'training\.device is cuda:1, .* finds 0 GPUs'):
        choose_device('cuda:1')
