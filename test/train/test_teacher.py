"""The network that another one learns from: where it comes from, and what it must have."""

import json

import pytest
from test_engine import assert_bitwise_equal, run_until
import torch

from helpers.model_settings import SMALL, small_run
from helpers.paths import ROOT
from helpers.synthetic import SHAPES, write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import load_config
from mbv2ssd_train.deploy.contract import open_checkpoint
from mbv2ssd_train.dry_run import dry_run
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.export.onnx_file import export_onnx
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.teacher import load_teacher

CPU = torch.device('cpu')
WIDER = {**SMALL, 'width_mult': 0.5}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Eight training images, two to measure on."""
    return write_world(tmp_path_factory.mktemp('world'), train=8, val=2)


@pytest.fixture(scope='module')
def teachers(world, tmp_path_factory):
    """A folder with wider.pt, a larger network than those it teaches, and wider.onnx."""
    folder = tmp_path_factory.mktemp('teachers')
    trainer = Trainer(small_run(world, model=WIDER), folder / 'runs')
    saved(trainer)
    (folder / 'wider.pt').write_bytes(trainer.folder.last.read_bytes())
    export_onnx(open_checkpoint(load_checkpoint(folder / 'wider.pt')), folder / 'wider.onnx')
    return folder


def taught(world, teacher, only=True, **sections):
    return small_run(world, distill={'teacher': str(teacher), 'only': only}, **sections)


def saved(trainer):
    trainer.save()
    trainer.folder.close()
    return load_checkpoint(trainer.folder.last)


@pytest.mark.parametrize('name', ['wider.pt', 'wider.onnx'])
def test_a_teacher_answers_as_its_file(teachers, world, name):
    teacher = load_teacher(taught(world, teachers / name), CPU)
    network = open_checkpoint(load_checkpoint(teachers / 'wider.pt')).model.network
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():  # normalised with a mean and a deviation of a half
        wanted = network((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    for found, expected in zip(teacher(pixels), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
        assert not found.requires_grad


def test_a_teacher_does_not_change(teachers, world, tmp_path):
    trainer = Trainer(taught(world, teachers / 'wider.pt'), tmp_path)
    teacher = trainer.learner.teacher.train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    trainer.learner.learn(next(trainer.loader.epoch(0)))
    assert not any(module.training for module in teacher.modules())
    assert before and all(torch.equal(teacher.state_dict()[name], value)
                          for name, value in before.items())


def test_the_shipped_model_teaches_itself_to_round(monkeypatch):
    root = ROOT
    monkeypatch.chdir(root)
    config = load_config(root / 'config' / 'train' / 'mbv2_ssdlite_voc_qat.yaml')
    teacher = load_teacher(config, CPU)
    assert config.distill.teacher == config.model.weights
    assert config.distill.only and config.is_quantization_aware
    assert sum(p.numel() for p in teacher.parameters()) == pytest.approx(3.36e6, rel=0.01)


def test_without_a_teacher_there_is_none(world):
    assert load_teacher(small_run(world), CPU) is None


@pytest.mark.parametrize('sections, said', [
    ({'data': {'classes': [*SHAPES[:2], 'star']}},
     'its classes are disc, square, triangle, those of the network disc, square, star'),
    ({'model': {'input_size_hw': [96, 64]}},
     r'its model\.input_size_hw is \(64, 96\), that of the network \(96, 64\)'),
    ({'model': {'aspect_ratios': [3.0]}},
     r'its prior boxes are \(384, .*ratios \[2\.0\].*, those of the network \(384, .*\[3\.0\]'),
    ({'augment': {'input_sizes_hw': [[64, 96], [96, 128]]}, 'model': {'scales': [.1, .2, .3, .4,
                                                                              .5]}},
     r'scales \[0\.15.*scales \[0\.1,'),
    ({'model': {'variances': [0.1, 0.1]}}, r'its model\.variances is \(0\.1, 0\.2\)'),
    ({'model': {'resize_mode': 'letterbox'}}, 'resize_mode is stretch, .* network letterbox'),
    ({'loss': {'classification': 'focal'}}, 'scores are of a softmax, .* network of a sigmoid')])
def test_a_teacher_of_something_else_is_refused(teachers, world, sections, said):
    with pytest.raises(ConfigError, match=f'wider.pt does not fit this network: .*{said}'):
        load_teacher(taught(world, teachers / 'wider.pt', **sections), CPU)


def test_a_missing_teacher_is_named(world):
    with pytest.raises(DataError, match=r'nobody\.pt: no such teacher; set distill\.teacher'):
        load_teacher(taught(world, 'nobody.pt'), CPU)


def test_a_file_in_float16_is_no_teacher(teachers, world, tmp_path):
    assert main(['export', '--model', str(teachers / 'wider.onnx'), '--precision', 'fp16',
                 '--output', str(tmp_path / 'half.onnx')]) == 0
    with pytest.raises(DataError, match=r'half\.onnx: has precision fp16; a teacher is'):
        load_teacher(taught(world, tmp_path / 'half.onnx'), CPU)


@pytest.mark.parametrize('section, said', [
    ({'only': True}, 'only without a teacher'),
    ({'weight': 2.0, 'temperature': 3.0}, 'temperature, weight without a teacher'),
    ({'teacher': 'a.pt', 'only': True, 'weight': 2.0}, 'weight has no effect with only: True'),
    ({'teacher': 'a.pt', 'confident': 1.0}, 'less than 1')])
def test_what_cannot_be_meant_is_refused(world, section, said):
    with pytest.raises(ConfigError, match=said):
        small_run(world, distill=section)


def test_another_teacher_is_another_recipe_but_not_another_place_of_it(world):
    found = [taught(world, path).recipe_fingerprint()
             for path in ('here/a.pt', 'there/a.pt', 'here/b.pt')]
    assert found[0] == found[1] != found[2]


def test_the_teacher_alone_does_not_look_at_objects(teachers, world, tmp_path):
    gradients = []
    for name, emptied in (('with', False), ('without', True)):
        learner = Trainer(taught(world, teachers / 'wider.pt'), tmp_path / name).learner
        batch = next(Trainer(small_run(world), tmp_path / f'{name}_data').loader.epoch(0))
        if emptied:
            batch.labels.zero_()
        result = learner.learn(batch)
        assert result.teacher_loss == result.loss > 0
        gradients.append([p.grad.clone() for p in learner.network.parameters()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True))


def test_beside_the_objects_the_teacher_has_a_weight(teachers, world, tmp_path):
    batch = next(Trainer(small_run(world), tmp_path / 'data').loader.epoch(0))
    plain = Trainer(small_run(world), tmp_path / 'plain').learner.learn(batch)
    shares = []
    for weight in (1.0, 3.0):
        config = small_run(world, distill={'teacher': str(teachers / 'wider.pt'),
                                           'weight': weight})
        result = Trainer(config, tmp_path / str(weight)).learner.learn(batch)
        assert result.loss == pytest.approx(plain.loss + result.teacher_loss, rel=1e-5)
        assert result.positives == plain.positives
        shares.append(result.teacher_loss)
    assert shares[1] == pytest.approx(3 * shares[0], rel=1e-5)
    assert plain.teacher_loss == 0


def test_a_run_with_a_teacher_goes_on_bit_for_bit(teachers, world, tmp_path):
    config = taught(world, teachers / 'wider.pt', only=False, training={'epochs': 3})
    whole = Trainer(config, tmp_path / 'whole')
    whole.run()

    def crash():
        raise MemoryError

    config = config.model_copy(update={
        'training': config.training.model_copy(update={'save_every': 1})})
    with pytest.raises(MemoryError):
        run_until(Trainer(config, tmp_path / 'parts'), 4, crash)
    second = Trainer(config, tmp_path / 'parts', resume=True)
    second.run()
    assert_bitwise_equal(
        *(load_checkpoint(trainer.folder.last) for trainer in (second, whole)))


def test_of_the_teacher_a_checkpoint_has_the_hash_alone(teachers, world, tmp_path):
    plain, with_teacher = (saved(Trainer(config, tmp_path / name)) for name, config in (
        ('plain', small_run(world)), ('taught', taught(world, teachers / 'wider.pt'))))
    assert len(with_teacher.learner['teacher']) == 12 and plain.learner['teacher'] is None
    assert with_teacher.model.keys() == plain.model.keys()


def test_a_run_does_not_go_on_with_another_teacher(teachers, world, tmp_path):
    mine = tmp_path / 'mine.pt'
    mine.write_bytes((teachers / 'wider.pt').read_bytes())
    config = taught(world, mine)
    hash_before = saved(Trainer(config, tmp_path / 'runs')).learner['teacher']
    other = Trainer(small_run(world, seed=2), tmp_path / 'other')
    saved(other)
    mine.write_bytes(other.folder.last.read_bytes())
    with pytest.raises(DataError, match=f'mine.pt: another teacher .* that was {hash_before}'):
        Trainer(config, tmp_path / 'runs', resume=True)


def test_figures_and_dry_run_tell_of_the_teacher(teachers, world, tmp_path):
    config = taught(world, teachers / 'wider.pt', training={'log_every': 1})
    assert 'wider.pt alone (0.' in next(dry_run(config))
    trainer = Trainer(config, tmp_path)
    trainer.run()
    lines = map(json.loads, (trainer.folder.path / 'metrics.jsonl').read_text().splitlines())
    assert all(line['teacher_loss'] == pytest.approx(line['loss'])
               for line in lines if line['kind'] == 'train')
    assert 'temperature: 1.0  # softens the class scores' in config.to_explained_yaml()
