"""A step of learning: however a batch is split, it is one batch."""

import pytest
import torch

from helpers.model_settings import small_run
from helpers.synthetic import write_world
from mbv2ssd_train.data.loading.loader import TrainLoader
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.learner import Learner, NotFiniteError
from mbv2ssd_train.process.distributed import World
from mbv2ssd_train.training_data import open_datasets

# without BatchNorm's statistics the parts of a batch do not see each other
STILL = {'freeze_bn': True, 'batch_size': 4}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Four training images."""
    return write_world(tmp_path_factory.mktemp('world'), train=4, val=1)


def learner(world, **sections):
    config = small_run(world, **sections)
    torch.manual_seed(config.seed)
    network = build_network(config)
    found = Learner(network, config, 10, World())
    for module in network.modules():  # heads and extras too
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    network.train = lambda mode=True: network
    batch = next(TrainLoader(open_datasets(config)[0], config).epoch(0))
    return found, batch


@pytest.mark.parametrize('parts', [2, 3, 4])
def test_parts_of_a_batch_add_up_to_the_whole(world, parts):
    whole, batch = learner(world, training=STILL)
    split, _ = learner(world, training={**STILL, 'accumulate': parts})
    expected, found = whole.learn(batch), split.learn(batch)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-4)
    assert (found.positives, found.negatives) == (expected.positives, expected.negatives)
    for ours, theirs in zip(split.network.parameters(), whole.network.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_the_loss_is_told_how_far_the_run_is(world):
    found, batch = learner(world, training=STILL)  # of ten steps
    seen = []
    found._criterion.register_forward_pre_hook(lambda module, _: seen.append(module.progress))
    for _ in range(3):
        found.learn(batch)
    assert seen == [0, 0.1, 0.2]


def test_the_norm_of_the_gradient_is_clipped(world):
    found, batch = learner(world, training=STILL, optimizer={'clip_norm': 0.25})
    assert found.learn(batch).gradient_norm > 0.25
    left = torch.linalg.vector_norm(torch.stack([
        torch.linalg.vector_norm(p.grad) for p in found.network.parameters()]))
    assert float(left) == pytest.approx(0.25, rel=1e-3)


def test_per_image_figures_are_those_of_the_batch(world):
    found, batch = learner(world, training=STILL)
    result = found.learn(batch)
    assert result.positives_min <= result.positives / 4 <= result.positives_max
    assert result.images_without_positives == (result.positives_min == 0)
    assert result.negatives >= result.positives


def test_fp16_leaves_a_step_out_whose_gradient_overflows_and_scales_less(world):
    found, batch = learner(world, training={**STILL, 'precision': 'fp16'})
    found._scaler._init_scale = 2.0 ** 40
    before = [p.detach().clone() for p in found.network.parameters()]
    found.learn(batch)
    assert all(torch.equal(p, q) for p, q in zip(found.network.parameters(), before))
    assert found.state()['scaler']['scale'] == 2.0 ** 39


def test_a_step_that_fp16_leaves_out_leaves_no_momentum_behind(world):
    found, batch = learner(world, training={**STILL, 'precision': 'fp16'},
                           optimizer={'name': 'sgd'})
    found._scaler._init_scale = 2.0 ** 40
    found.learn(batch)
    assert not found.state()['optimizer']['state']


def test_fp16_does_not_leave_out_steps_for_ever(world):
    found, batch = learner(world, training={**STILL, 'precision': 'fp16'})
    found._scaler._init_scale = 2.0 ** -13
    found.network.loc_heads[0][1].bias.register_hook(lambda grad: grad * float('nan'))
    found.learn(batch)
    with pytest.raises(NotFiniteError, match=r'step 1: the gradient is nan; images: .*png'):
        found.learn(batch)


def test_fp16_learns_nearly_what_fp32_does(world):
    low, batch = learner(world, training={**STILL, 'precision': 'fp16'})
    full, _ = learner(world, training=STILL)
    for _ in range(3):
        found, expected = low.learn(batch), full.learn(batch)
    assert found.loss == pytest.approx(expected.loss, rel=0.05)


def test_the_scaler_of_fp16_goes_on_where_it_stopped(world):
    first, batch = learner(world, training={**STILL, 'precision': 'fp16'})
    first._scaler._init_scale = 2.0 ** 40
    first.learn(batch)
    second, _ = learner(world, training={**STILL, 'precision': 'fp16'})
    second.restore(1, first.network.state_dict(), first.average.module.state_dict(),
                   first.state())
    assert second.state() == first.state() and second.step == 1


def test_a_weight_that_is_no_number_is_named(world):
    found, _ = learner(world, training=STILL)
    found.network.loc_heads[0][1].bias.data[0] = float('nan')
    with pytest.raises(NotFiniteError, match=r'step 0: loc_heads\.0\.1\.bias is no longer finite'):
        found.check_weights()
