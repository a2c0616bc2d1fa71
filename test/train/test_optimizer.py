"""Parameter groups, the schedule and the averaged weights, with hand values."""

import math

from pydantic import ValidationError
import pytest
import torch
from torch import nn

from helpers.model_settings import small_model
from mbv2ssd_train.config import OptimizerConfig, ScheduleConfig
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.model.vgg16 import L2Norm
from mbv2ssd_train.optimizer import (
    average_weights,
    build_optimizer,
    schedule_factor,
    set_learning_rates,
)


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_the_backbone_learns_slower_and_vectors_do_not_decay(name):
    network = SSD(small_model(), 4)
    config = OptimizerConfig(
        name=name, learning_rate=0.02, backbone_factor=0.1, weight_decay=0.05, momentum=0.8)
    optimizer = build_optimizer(network, config)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    seen = []
    for group in optimizer.param_groups:
        for parameter in group['params']:
            key = names[id(parameter)]
            seen.append(key)
            rate = 0.002 if key.startswith('backbone.') else 0.02
            assert group['lr'] == pytest.approx(rate), key
            assert group['weight_decay'] == (0.05 if parameter.ndim == 4 else 0), key
            assert (group['betas'][0] if name == 'adamw' else group['momentum']) == 0.8
    assert sorted(seen) == sorted(names.values())


def test_the_scale_of_an_l2_norm_does_not_decay():
    network = nn.Module()
    network.backbone = L2Norm(3)  # (3, 1, 1)
    group, = build_optimizer(network, OptimizerConfig(weight_decay=0.05)).param_groups
    assert group['params'] == [network.backbone.scale] and group['weight_decay'] == 0


def test_what_does_not_learn_is_not_optimised():
    network = SSD(small_model(), 4)
    network.backbone.requires_grad_(False)
    optimizer = build_optimizer(network, OptimizerConfig())
    optimised = sum(len(group['params']) for group in optimizer.param_groups)
    assert optimised == sum(not key.startswith('backbone.')
                            for key, _ in network.named_parameters())


def factors(total, **settings):
    config = ScheduleConfig(**settings)
    return [schedule_factor(step, total, config) for step in range(total)]


def test_schedule_at_the_start_the_top_the_middle_and_the_end():
    # 100 steps, 20 of them warm-up: 1/21 first, 20/21 last, then the cosine from 1
    found = factors(100, warmup_fraction=0.2)
    assert found[0] == pytest.approx(1 / 21)
    assert found[19] == pytest.approx(20 / 21)
    assert found[20] == 1
    assert found[60] == pytest.approx(0.5)
    assert found[99] == pytest.approx(0.5 * (1 - math.cos(math.pi / 80)))
    assert all(a < b for a, b in zip(found[:20], found[1:21]))
    assert all(a > b for a, b in zip(found[20:], found[21:]))


def test_a_cosine_can_end_above_zero():
    found = factors(1000, warmup_fraction=0, final_factor=0.25)
    assert (found[0], found[500]) == (1, pytest.approx(0.625))
    assert found[-1] == pytest.approx(0.25, abs=1e-5)


def test_multistep_drops_behind_its_milestones():
    found = factors(100, name='multistep', warmup_fraction=0, milestones=(0.5, 0.9), drop=0.1)
    assert found[49:51] == pytest.approx([1, 0.1]) and found[89:91] == pytest.approx([0.1, 0.01])


def test_step_drops_again_and_again():
    found = factors(100, name='step', warmup_fraction=0.1, step_fraction=0.25, drop=0.5)
    assert found[10:26:15] == pytest.approx([1, 0.5]) and found[99] == pytest.approx(0.125)
    assert found[0] == pytest.approx(1 / 11)


def test_a_constant_rate_stays():
    assert set(factors(9, name='constant', warmup_fraction=0)) == {1.0}


def test_milestones_ascend():
    with pytest.raises(ValidationError, match=r'milestones must ascend, found \[0.9, 0.5\]'):
        ScheduleConfig(name='multistep', milestones=(0.9, 0.5))


@pytest.mark.parametrize('total, warmup', [(1, 0.0), (1, 0.9), (2, 0.5), (7, 0.99)])
def test_no_step_of_a_short_run_has_a_rate_of_zero(total, warmup):
    assert all(0 < factor <= 1 for factor in factors(total, warmup_fraction=warmup))


def test_a_factor_applies_to_the_full_rate_of_each_group():
    optimizer = build_optimizer(SSD(small_model(), 4), OptimizerConfig(learning_rate=0.01))
    for factor in (0.5, 0.25):  # not one on top of the other
        set_learning_rates(optimizer, factor)
        assert sorted({group['lr'] for group in optimizer.param_groups}) == pytest.approx(
            [0.001 * factor, 0.01 * factor])


class Scales(nn.Module):
    """A parameter, a statistic and a counter, all of one number."""

    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(value)))
        self.register_buffer('statistic', torch.tensor(10.0 * value))
        self.register_buffer('counter', torch.tensor(value))

    def set(self, value):
        self.weight.data.fill_(value)
        self.statistic.fill_(10.0 * value)
        self.counter.fill_(value)


def test_the_average_of_weights_and_statistics_by_hand():
    model = Scales(0)
    average = average_weights(model, 0.25)
    for value in (5, 11, 1):  # a copy; 2/11 of the past; then the full 1/4 of it
        model.set(value)
        average.update_parameters(model)
    second = 5 * 2 / 11 + 11 * 9 / 11
    expected = second * 0.25 + 1 * 0.75
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.statistic.item() == pytest.approx(10 * expected)
    assert average.module.counter.item() == 1


def test_a_decay_of_zero_is_the_newest_weights():
    model = Scales(0)
    average = average_weights(model, 0.0)
    for value in (5, 11, 1):
        model.set(value)
        average.update_parameters(model)
        assert average.module.weight.item() == value == average.module.counter.item()


def test_no_device_is_waited_for_to_average():
    model = Scales(0).to('meta')  # whose values cannot be read
    average = average_weights(model, 0.9)
    for _ in range(2):
        average.update_parameters(model)
    assert int(average.n_averaged) == 2
