"""`training.precision: auto` asks the device; a precision that is slow on this CPU is reported."""

import copy

import pytest
import torch

from helpers.model_settings import small_run
from helpers.synthetic import write_world
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.learner import Learner
from mbv2ssd_train.process import precision as choosing
from mbv2ssd_train.process.distributed import World
from mbv2ssd_train.process.precision import choose_precision, has_bf16

CPU = torch.device('cpu')
SECONDS = {'fp32': 0.1}


@pytest.fixture
def network(tmp_path):
    return build_network(small_run(tmp_path))


def timed(monkeypatch, **seconds):
    """Let steps take these times; the network is not run."""
    monkeypatch.setattr(choosing, 'step_seconds',
                        lambda _network, _size_hw, precision: {**SECONDS, **seconds}[precision])


@pytest.mark.parametrize('text, expected', [
    ('flags\t\t: fpu avx512f avx512_bf16 amx_tile', True),
    ('flags\t\t: fpu avx512f amx_bf16', True),
    ('Features\t: fp asimd bf16 i8mm', True),
    ('flags\t\t: fpu avx2 avx512f avx512_vnni', False),
    ('Features\t: fp asimd asimddp', False),
    ('model name\t: bf16', False)])
def test_the_processor_says_whether_it_has_bfloat16(tmp_path, text, expected):
    (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\n{text}\n')
    assert has_bf16(CPU, tmp_path / 'cpuinfo') is expected


def test_a_system_without_cpuinfo_has_none(tmp_path):
    assert not has_bf16(CPU, tmp_path / 'cpuinfo')


@pytest.mark.parametrize('has, bf16_s, expected', [
    (True, 0.06, 'bf16'), (True, 0.105, 'bf16'), (True, 3.0, 'fp32'), (False, 0.06, 'fp32')])
def test_auto_takes_bfloat16_where_the_cpu_has_it_and_is_not_slower(
        monkeypatch, network, has, bf16_s, expected):
    monkeypatch.setattr(choosing, 'has_bf16', lambda _device: has)
    timed(monkeypatch, bf16=bf16_s)
    assert choose_precision('auto', network, (64, 96), CPU) == (expected, '')


def test_an_explicit_choice_is_kept_and_its_slowness_reported(monkeypatch, network):
    timed(monkeypatch, bf16=4.0)
    found, warning = choose_precision('bf16', network, (64, 96), CPU)
    assert found == 'bf16'
    assert warning == ('training.precision=bf16 is slow on this processor: 0.5 images/s, in '
                       'float32 20.0 (forward and backward, 2 images); auto or fp32 is faster')


def test_a_fast_explicit_choice_gets_no_warning(monkeypatch, network):
    timed(monkeypatch, bf16=0.05)
    assert choose_precision('bf16', network, (64, 96), CPU) == ('bf16', '')


def test_measuring_changes_neither_network_nor_random_state(network):
    network.train()
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    choose_precision('bf16', network, (64, 96), CPU)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_fake_quantization_takes_float32(monkeypatch, tmp_path):
    monkeypatch.setattr('mbv2ssd_train.learner.has_bf16', lambda _device: True)
    timed(monkeypatch, bf16=0.05)
    config = small_run(tmp_path, training={'precision': 'auto'}, model={'weights': 'x.onnx'},
                       quantize={'weights_only': True})
    assert Learner(build_network(config), config, 10, World()).precision == 'fp32'


def test_a_run_goes_on_in_the_precision_it_began_with(monkeypatch, tmp_path):
    monkeypatch.setattr('mbv2ssd_train.learner.has_bf16', lambda _device: True)
    monkeypatch.setattr(choosing, 'has_bf16', lambda _device: True)
    timed(monkeypatch, bf16=0.05)
    write_world(tmp_path / 'data', train=4, val=2)
    config = small_run(tmp_path / 'data', training={'precision': 'auto', 'epochs': 1})
    first = Trainer(config, tmp_path / 'runs')
    assert ' in bf16' in first.describe()
    first.run()
    monkeypatch.setattr('mbv2ssd_train.learner.has_bf16', lambda _device: False)
    resumed = Trainer(config, tmp_path / 'runs', resume=True)
    assert resumed.learner.precision == 'bf16'


def test_float32_of_before_and_a_run_without_the_key_have_their_own_fingerprints(tmp_path):
    def fingerprint(**training):
        return small_run(tmp_path, training=training).recipe_fingerprint()
    assert len({fingerprint(precision=name) for name in ('auto', 'fp32', 'bf16', 'fp16')}) == 4
