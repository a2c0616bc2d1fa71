"""The program: help, one line for an error, and what the verbs print and write."""

import dataclasses
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import yaml

from helpers.model_settings import small_run
from helpers.synthetic import add_image, add_list, SHAPES, write_world
from helpers.tiny_model import CONTRACT, write_tiny_model
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli import main
from mbv2ssd_train.cli.options import chosen_model
from mbv2ssd_train.cli.program import _parse
from mbv2ssd_train.config import parse_config
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.learner import Learner
from mbv2ssd_train.run.checkpoint import Checkpoint
from mbv2ssd_train.weights.files import find_weights


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), train=6, val=3, test=4)


@pytest.fixture
def config(world, tmp_path):
    """The path of a configuration for that world."""
    path = tmp_path / 'c.yaml'
    path.write_text(small_run(world).to_yaml())
    return path


@pytest.fixture(scope='module')
def checkpoint(world, tmp_path_factory):
    """A checkpoint of random weights, trained on that world in name only."""
    path = tmp_path_factory.mktemp('checkpoint') / 'best.pt'
    run = small_run(world)
    weights = build_network(run).state_dict()
    write_checkpoint(run, weights, path)
    return path


def write_checkpoint(run, weights, path):
    Checkpoint(run.to_yaml(), {'arch': run.arch_fingerprint()}, run.data.classes, {'step': 3},
               weights, weights, {}, {}, 0.0).save(path)


def fails(capsys, *arguments):
    """Run a verb that must fail; return the one line that it says."""
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    line, = captured.err.splitlines()
    verb = ' '.join(arguments[:2]) if arguments[0] == 'data' else arguments[0]
    assert line.startswith(f'mbv2ssd_train {verb}: ')
    return line


@pytest.mark.parametrize('verb, words', [
    ((), ('train', 'eval', 'export', 'predict', 'data', 'model_path of the detector node')),
    (('train',), ('key.path=value', 'training.epochs=5', '--resume', '--print-config',
                  'status.json')),
    (('eval',), ('.onnx', '.pt', '@k/n', 'VOC2007:test', '--json', 'difficult')),
    (('export',), ('best.pt', 'compared with PyTorch')),
    (('predict',), ('image files or folders', 'detections.json', '--score-threshold')),
    (('data',), ('check', 'cache')),
    (('data', 'pack'), ('--longest-side', 'default 360', '--classes', 'data.root')),
    (('data', 'cache'), ('--longest-side', 'default 416', '--classes', 'data.root'))])
def test_help_teaches(capsys, verb, words):
    with pytest.raises(SystemExit) as caught:
        main([*verb, '--help'])
    text = ' '.join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    for word in words:
        assert word in text, word


def test_python_m_is_the_same_program():
    done = subprocess.run([sys.executable, '-m', 'mbv2ssd_train', '--help'], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith('usage: mbv2ssd_train')


def test_help_needs_no_pytorch():
    code = ('import sys; from mbv2ssd_train.cli import main\n'
            'try:\n    main(["train", "--help"])\n'
            'except SystemExit:\n    sys.exit("torch" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL,
                          timeout=120).returncode == 0


@pytest.mark.parametrize('chosen', [None, '7'])
def test_threads_that_wait_spin_briefly_unless_told_otherwise(chosen, monkeypatch, capsys):
    monkeypatch.delenv('GOMP_SPINCOUNT', raising=False)
    if chosen:
        monkeypatch.setenv('GOMP_SPINCOUNT', chosen)
    fails(capsys, 'train', 'nothing.yaml')
    assert os.environ['GOMP_SPINCOUNT'] == (chosen or '2000')


def test_print_config_is_yaml_that_loads_back_equal(config, capsys):
    assert main(['train', str(config), 'training.epochs=7', '--print-config']) == 0
    printed = parse_config(capsys.readouterr().out, 'printed')
    assert printed == parse_config(config.read_text(), 'c', ('training.epochs=7',))
    assert printed.training.epochs == 7


def test_overrides_may_stand_behind_options(config, capsys, tmp_path):
    assert main(['train', str(config), 'seed=5', '--runs', str(tmp_path), '--print-config',
                 'training.epochs=7', 'data.val=test']) == 0
    printed = parse_config(capsys.readouterr().out, 'printed')
    assert (printed.seed, printed.training.epochs, printed.data.val) == (5, 7, 'test')


@pytest.mark.parametrize('arguments', [
    ('train', 'c.yaml', '--resmue'), ('train', 'c.yaml', 'epochs'), ('eval', 'x=1'), (),
    ('train', 'c.yaml', '--lr=3'), ('fly',)])
def test_arguments_that_are_none_end_with_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if arguments == ('train', 'c.yaml', 'epochs'):  # an override of another form
        (tmp_path / 'c.yaml').write_text('name: x')
        assert 'epochs' in fails(capsys, *arguments)
        return
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 2 and 'usage: ' in capsys.readouterr().err


def test_a_pattern_that_stands_for_several_files_is_told(capsys, tmp_path):
    paths = [tmp_path / f'{name}.pt' for name in 'ab']
    for path in paths:
        path.write_bytes(b'')
    with pytest.raises(SystemExit):
        main(['export', '--output', 'x.onnx', '--checkpoint', *map(str, paths)])
    assert 'b.pt; does a * match several files? Name one' in capsys.readouterr().err


def test_an_unknown_key_is_one_line(config, capsys):
    assert fails(capsys, 'train', config, 'training.epoch=3').endswith(
        f"{config}: training.epoch: unknown key; did you mean 'epochs'?")


def test_a_missing_configuration_is_one_line(capsys):
    assert 'nothing.yaml: no such configuration file' in fails(capsys, 'train', 'nothing.yaml')


def test_a_full_gpu_is_one_line_that_says_what_needs_less(
        config, capsys, tmp_path, monkeypatch):
    def learn(self, batch):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')
    monkeypatch.setattr(Learner, 'learn', learn)
    said = fails(capsys, 'train', config, '--runs', tmp_path)
    assert 'allocate 2.00 GiB. If this was training, training.accumulate=2 splits' in said
    status, = tmp_path.glob('*/status.json')
    assert 'Tried to allocate 2.00 GiB' in json.loads(status.read_text())['reason']


def test_missing_weights_are_one_line(config, capsys, tmp_path):
    assert 'w.pth: no such weights' in fails(
        capsys, 'train', config, '--runs', tmp_path / 'r', 'model.backbone_weights=w.pth')


def test_an_unknown_class_is_one_line(config, capsys, tmp_path):
    line = fails(capsys, 'train', config, '--runs', tmp_path / 'r', 'data.classes=[disc]')
    assert '.xml:1: class ' in line and '(disc); add it to the classes (data.classes' in line


@pytest.mark.parametrize('arguments, said', [
    (('--model', 'm.txt', '--split', 'test'), 'm.txt: neither an .onnx file nor a checkpoint'),
    (('--model', 'm.onnx', '--split', 'test'), '--model m.onnx: no such file, nor a model'),
    (('--model', 'm.pt', '--split', 'test'), 'm.pt: no such checkpoint'),
    (('--model', 'CHECKPOINT', '--split', 'nope'), 'nope.txt: no such list'),
    (('--model', 'CHECKPOINT', '--split', 'a:b:c'), "split 'a:b:c' is not of the form"),
    (('--model', 'CHECKPOINT', '--split', 'test', '--nms-iou', '7'), 'nms_iou is 7.0, expected'),
    (('--model', 'CHECKPOINT', '--split', 'train'), '6 images are both in the training data')])
def test_eval_says_in_one_line_what_is_wrong(world, checkpoint, capsys, arguments, said):
    arguments = [str(checkpoint) if item == 'CHECKPOINT' else item for item in arguments]
    assert said in fails(capsys, 'eval', *arguments, '--data', world)


def test_eval_writes_its_figures(world, checkpoint, tmp_path, capsys):
    output = tmp_path / 'deep' / 'out.json'
    assert main(['eval', '--model', str(checkpoint), '--data', str(world), '--split', 'test',
                 '--json', str(output)]) == 0
    found = json.loads(output.read_text())
    assert (found['split'], found['images'], found['match_iou']) == ('test', 4, 0.5)
    assert 0 <= found['map_50'] <= 1 and 0 <= found['map_50_11point'] <= 1
    assert found['model'] == str(checkpoint) and set(found['ap_50']) == set(SHAPES)
    printed = capsys.readouterr().out
    assert f'mAP@0.5 {found["map_50"]:.4f} (area)' in printed and 'on test, 4 images' in printed


def test_eval_finds_the_training_images_where_they_were(checkpoint, tmp_path, capsys):
    """Other data with a list of the same name are not the training data."""
    elsewhere = write_world(tmp_path, seed=99, train=2)
    assert main(['eval', '--model', str(checkpoint), '--data', str(elsewhere),
                 '--split', 'train']) == 0
    assert capsys.readouterr().err == (f'note: {checkpoint} does not record which images it '
                                       'learnt from; its training splits were compared by name\n')


def test_eval_says_when_it_cannot_look_for_training_images(world, tmp_path, capsys):
    run = small_run(world, data={'train': ['gone']})
    weights = build_network(run).state_dict()
    write_checkpoint(run, weights, tmp_path / 'a.pt')
    assert main(['eval', '--model', str(tmp_path / 'a.pt'), '--data', str(world),
                 '--split', 'test']) == 0
    assert 'note: the training split gone is not in' in capsys.readouterr().err


def test_export_of_what_is_no_checkpoint_is_one_line(tmp_path, capsys):
    (tmp_path / 'a.pt').write_bytes(b'nothing')
    assert 'a.pt: not a checkpoint' in fails(
        capsys, 'export', '--checkpoint', tmp_path / 'a.pt', '--output', tmp_path / 'a.onnx')


def test_a_name_that_is_no_model_file_is_one_line(checkpoint, tmp_path, capsys):
    assert 'ends in .onnx' in fails(
        capsys, 'export', '--checkpoint', checkpoint, '--output', tmp_path / 'model')


def test_predict_writes_pictures_and_json(tmp_path, capsys):
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    red = np.zeros((32, 48, 3), np.uint8)
    red[:8, :8, 2] = 255  # the first cell
    assert cv2.imwrite(str(tmp_path / 'red.png'), red)
    assert main(['predict', '--model', str(model), '--output', str(tmp_path / 'out'),
                 str(tmp_path / 'red.png')]) == 0
    assert 'red.png: red 1.00' in capsys.readouterr().out
    found = json.loads((tmp_path / 'out/detections.json').read_text())
    assert [item['label'] for item in found['red.png']] == ['red']
    assert cv2.imread(str(tmp_path / 'out/red.png')).shape == (32, 48, 3)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    assert cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'file').touch()
    assert f'{tmp_path / "file"}: ' in fails(
        capsys, 'predict', '--model', model, '--output', tmp_path / 'file', tmp_path / 'a.png')


def test_an_interruption_is_one_line(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('mbv2ssd_train.deploy.open_model.open_model', interrupted)
    assert main(['predict', 'a.png']) == 130
    assert capsys.readouterr().err == 'mbv2ssd_train predict: interrupted\n'


@pytest.mark.parametrize('change, said', [
    (('--quality', '0'), '--quality 0'), (('--longest-side', '0'), '--longest-side 0'),
    (('--name', 'a:b'), "'a:b'"), (('--classes', 'disc'), "class 'square'")])
def test_data_pack_says_in_one_line_what_is_wrong(world, tmp_path, capsys, change, said):
    arguments = ['data', 'pack', '--data', world, '--split', 'test', '--output', tmp_path,
                 '--name', 'set', '--classes', *SHAPES, *change]
    assert said in fails(capsys, *arguments)
    assert not list(tmp_path.glob('*.json'))


def test_the_whole_configuration_stands_in_the_run_folder(config, tmp_path):
    assert main(['train', str(config), '--runs', str(tmp_path / 'r'), 'training.epochs=1',
                 'training.eval_every=1']) == 0
    written, = (tmp_path / 'r').glob('small_*/config.yaml')
    assert yaml.safe_load(written.read_text())['training']['epochs'] == 1


def test_dry_run_makes_one_step_and_leaves_nothing_behind(config, tmp_path, capsys):
    runs = tmp_path / 'runs'
    assert main(['train', str(config), '--dry-run', '--runs', str(runs)]) == 0
    printed = capsys.readouterr().out
    assert 'MMAC' in printed and 'priors' in printed and 'one step of' in printed
    assert not runs.exists()


def test_dry_run_says_what_training_begins_with_and_that_a_batch_is_all_there_is(
        config, checkpoint, capsys):
    assert main(['train', str(config), f'model.weights={checkpoint}', 'training.batch_size=1000',
                 '--dry-run']) == 0
    printed = capsys.readouterr().out
    assert f'{checkpoint} (sha256 ' in printed
    assert 'training.batch_size is 1000, but there are only 6 training images' in printed


def test_dry_run_finds_what_training_would_end_with(config, capsys):
    line = fails(capsys, 'train', config, 'data.root=nowhere', '--dry-run')
    assert 'nowhere: no such data folder' in line


def test_quantize_measures_on_no_image_that_the_model_learnt_from(tmp_path, capsys):
    for name in ('a', 'b'):
        add_image(tmp_path, name, np.zeros((32, 48, 3), np.uint8), [('red', (1, 1, 9, 9), 0)])
    add_list(tmp_path, 'train', ['a'])
    add_list(tmp_path, 'other', ['b'])
    run = small_run(tmp_path, data={'classes': ['red', 'green']})
    contract = dataclasses.replace(CONTRACT, provenance=dataclasses.replace(
        CONTRACT.provenance, config=run.to_yaml()))
    model = write_tiny_model(tmp_path / 'm.onnx', contract)
    line = fails(capsys, 'quantize', '--model', model, '--output', tmp_path / 'q.onnx', '--target',
                 'cpu', '--data', tmp_path, '--calibration-split', 'other', '--split', 'train')
    assert '1 images are both in the training data (train) and in train: a' in line
    assert not (tmp_path / 'q.onnx').exists()


@pytest.mark.parametrize('arguments, usage, hint', [
    (['trian'], 'usage: mbv2ssd_train [-h]', 'did you mean train?'),
    (['data', 'chekc'], 'usage: mbv2ssd_train data [-h]', 'did you mean check?'),
    (['train', '--resmue'], 'usage: mbv2ssd_train train [-h]', 'did you mean --resume?'),
    (['eval', '--data', 'd', '--split', 's', '--scoer-threshold=1'],
     'usage: mbv2ssd_train eval [-h]', 'did you mean --score-threshold?'),
    (['eval', '--data', 'd', '--spl', 's'], 'usage: mbv2ssd_train eval [-h]',
     'required: --split')])
def test_a_misspelt_word_gets_the_nearest_and_the_usage_of_its_verb(
        capsys, arguments, usage, hint):
    with pytest.raises(SystemExit, match='2'):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith(usage) and hint in error


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match='0'):
        main(['--version'])
    assert capsys.readouterr().out.startswith('mbv2ssd_train')


@pytest.mark.parametrize('verb', ['train', 'eval', 'quantize', 'predict'])
def test_help_has_examples_on_lines_of_their_own(capsys, verb):
    with pytest.raises(SystemExit):
        main([verb, '--help'])
    assert f'\n  mbv2ssd_train {verb} ' in capsys.readouterr().out


def test_models_of_the_package_and_of_runs_go_by_name(tmp_path, monkeypatch):
    def chosen(*arguments):
        return chosen_model(_parse(['predict', *arguments, 'image.png']))
    monkeypatch.chdir(tmp_path)
    assert chosen().name == 'mbv2_ssdlite_voc.onnx' and chosen().is_file()
    assert chosen('--model', 'mbv2_ssdlite_320_voc.onnx').is_file()
    assert find_weights('models/mbv2_ssdlite_320_voc.onnx').is_file()
    run = tmp_path / 'runs' / 'a_0123456789ab'
    (run / 'checkpoints').mkdir(parents=True)
    (run / 'fingerprints.json').write_text('{}')
    (run / 'checkpoints' / 'last.pt').write_text('')
    with pytest.raises(ConfigError, match=r'--run .*no evaluation was made yet; name .*last\.pt'):
        chosen('--run', 'latest')
    (run / 'checkpoints' / 'best.pt').write_text('')
    assert chosen('--run', 'latest').resolve() == run / 'checkpoints' / 'best.pt'
    assert chosen('--model', str(run)) == chosen('--run', str(run))
