"""Checkpoints on disk."""

import dataclasses
from pathlib import Path

import pytest
import torch

from helpers.model_settings import small_run
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.deploy.contract import build_network, open_checkpoint
from mbv2ssd_train.run.checkpoint import (
    Checkpoint,
    load_checkpoint,
    random_state,
    restore_random_state,
    RunState,
)

CONFIG = small_run('d')


@pytest.fixture
def checkpoint():
    weights = build_network(CONFIG).state_dict()
    return Checkpoint(CONFIG.to_yaml(), {'arch': 'a', 'recipe': 'b'}, CONFIG.data.classes,
                      {'step': 7, 'best_map': 0.25}, weights, weights, {}, {}, None)


def test_what_is_saved_is_loaded(tmp_path, checkpoint):
    checkpoint.save(tmp_path / 'c.pt')
    found = load_checkpoint(tmp_path / 'c.pt')
    assert found.parsed_state() == RunState(step=7, best_map=0.25) and found.map_50 is None
    assert found.parsed_config() == CONFIG
    assert all(torch.equal(found.model[key], value) for key, value in checkpoint.model.items())
    assert [path.name for path in tmp_path.iterdir()] == ['c.pt']


def test_weights_are_not_copied_to_be_saved(tmp_path, checkpoint):
    weights = {'w': torch.zeros(2 ** 18)}  # a MiB, which a file has once for each copy
    dataclasses.replace(checkpoint, model=weights, averaged=weights).save(tmp_path / 'c.pt')
    assert (tmp_path / 'c.pt').stat().st_size < 1.5 * 2 ** 20


def test_a_full_disk_is_called_one(checkpoint):
    with pytest.raises(OSError, match='No space left on device'):
        checkpoint.save(Path('/dev/full'))


def test_a_missing_key_is_named(tmp_path, checkpoint):
    found = dataclasses.asdict(checkpoint)
    del found['averaged'], found['random']
    torch.save(found, tmp_path / 'c.pt')
    with pytest.raises(DataError, match=r'c\.pt: the checkpoint lacks averaged, random'):
        load_checkpoint(tmp_path / 'c.pt')


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match=r'c\.pt: no such checkpoint'):
        load_checkpoint(tmp_path / 'c.pt')


@pytest.mark.parametrize('content', [b'', b'<html>', bytes(4096)])
def test_a_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / 'c.pt').write_bytes(content)
    with pytest.raises(DataError, match=r'c\.pt: not a checkpoint of mbv2ssd_train'):
        load_checkpoint(tmp_path / 'c.pt')


def test_a_truncated_checkpoint_is_named(tmp_path, checkpoint):
    checkpoint.save(tmp_path / 'c.pt')
    data = (tmp_path / 'c.pt').read_bytes()
    (tmp_path / 'c.pt').write_bytes(data[:len(data) // 2])
    with pytest.raises(DataError, match=r'c\.pt: not a checkpoint of mbv2ssd_train'):
        load_checkpoint(tmp_path / 'c.pt')


@pytest.mark.parametrize('found', [
    {'features.0.0.weight': torch.zeros(1)}, [1, 2], 'text'])
def test_other_things_that_torch_saved_are_named(tmp_path, found):
    torch.save(found, tmp_path / 'c.pt')
    with pytest.raises(DataError, match=r'c\.pt: not a checkpoint of mbv2ssd_train'):
        load_checkpoint(tmp_path / 'c.pt')


def test_what_is_no_checkpoint_is_refused_without_advice_to_run_its_code(tmp_path):
    (tmp_path / 'c.pt').write_text('name: a_configuration\n')
    with pytest.raises(DataError, match='c.pt: not a checkpoint of mbv2ssd_train: not wri') as err:
        load_checkpoint(tmp_path / 'c.pt')
    assert 'weights_only' not in str(err.value)


def test_another_version_names_both(tmp_path, checkpoint):
    dataclasses.replace(checkpoint, format=99).save(tmp_path / 'c.pt')
    with pytest.raises(DataError, match=r'c\.pt: checkpoint format 99, this package reads 2'):
        load_checkpoint(tmp_path / 'c.pt')


class Evil:
    """Something that runs code when it is unpickled."""

    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('was_here').touch()",)


def test_no_code_of_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'format': 2, 'model': Evil()}, tmp_path / 'c.pt')
    with pytest.raises(DataError, match='not a checkpoint'):
        load_checkpoint(tmp_path / 'c.pt')
    assert not (tmp_path / 'was_here').exists()


def test_weights_of_another_configuration_are_refused(checkpoint):
    other = small_run('d', data={'classes': ['a', 'b']}).to_yaml()
    with pytest.raises(DataError, match='not those of its configuration.*conf_heads'):
        open_checkpoint(dataclasses.replace(checkpoint, config=other))


def test_a_configuration_of_a_later_version_is_named(checkpoint):
    text = checkpoint.config + 'new_key: 1\n'
    with pytest.raises(ConfigError, match='the configuration in the checkpoint: new_key: unknown'):
        open_checkpoint(dataclasses.replace(checkpoint, config=text))


def test_random_numbers_go_on_where_they_were():
    state = random_state()
    expected = torch.rand(3)
    restore_random_state(state)
    assert torch.equal(torch.rand(3), expected)
