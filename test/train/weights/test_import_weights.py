"""Weights of torchvision's detectors become a checkpoint that every verb takes."""


import numpy as np
import pytest
import torch
import yaml

from helpers.paths import ROOT
from helpers.seeded_weights import seeded_image, seeded_state
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.cli.import_weights import TORCHVISION
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.deploy.contract import open_checkpoint
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.weights.torchvision.importing import convert_weights, import_weights
from mbv2ssd_train.weights.torchvision.keys import COCO_CLASSES, DETECTORS

PRESETS = ROOT / 'config' / 'train' / 'base' / 'model'
NAME = 'ssdlite320_mobilenet_v3_large'


def torchvision_state(columns, name=NAME):
    """A state dict of torchvision's, of any number of score columns."""
    listed = str(np.load(ROOT / 'test' / 'train' / 'weights' / 'torchvision_figures.npz')[
        f'shapes/{name}'])
    shapes = {}
    for line in listed.splitlines():
        key, *sides = line.split(' ')
        shape = tuple(int(side) for side in sides if side)
        if 'classification_head' in key and key.endswith(('.1.weight', '.1.bias')) \
                and '.0.1.' not in key.partition('module_list')[2][2:]:
            shape = (shape[0] // 6 * columns, *shape[1:])
        shapes[key] = shape
    return seeded_state(shapes)


@pytest.fixture(scope='module')
def coco_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'coco.pth'
    torch.save(torchvision_state(91), path)
    return path


@pytest.fixture(scope='module')
def imported(coco_weights):
    """The checkpoint file that the program writes."""
    output = coco_weights.parent / 'deep' / 'model.pt'
    assert main(['import-weights', NAME, '--weights', str(coco_weights), '--output',
                 str(output)]) == 0
    return output


def test_the_presets_are_the_architectures():
    assert tuple(DETECTORS) == TORCHVISION
    for name, detector in DETECTORS.items():
        preset = yaml.safe_load((PRESETS / f'{name}.yaml').read_text())
        assert ModelConfig.model_validate(preset) == ModelConfig.model_validate(detector.model)


def test_a_column_for_each_id_of_coco():
    # ids 1, 11, 13 and 90; 12 was never used
    assert len(COCO_CLASSES) == 90
    assert [COCO_CLASSES[number - 1] for number in (1, 11, 12, 13, 90)] == [
        'person', 'fire hydrant', 'unused 12', 'stop sign', 'toothbrush']
    assert sum(name.startswith('unused') for name in COCO_CLASSES) == 10


def test_the_checkpoint_says_what_it_is(imported):
    checkpoint = load_checkpoint(imported)
    assert checkpoint.class_names == COCO_CLASSES
    assert checkpoint.parsed_config().experiment.description == (
        'coco.pth, imported from torchvision')
    assert [path.name for path in imported.parent.iterdir()] == ['model.pt']


def test_it_can_be_used(imported):
    backend = open_checkpoint(load_checkpoint(imported))
    boxes, scores = backend.infer(seeded_image((320, 320), seed=1)[None])
    assert boxes.shape == (1, 3234, 4) and scores.shape == (1, 3234, 91)
    assert backend.contract.object_names == COCO_CLASSES


def test_a_class_keeps_its_column(coco_weights, imported):
    # column 3 is the car: raise its bias in torchvision's weights
    weights = torch.load(coco_weights)
    for name, value in weights.items():
        if 'classification_head' in name and name.endswith('.1.bias') and len(value) == 6 * 91:
            value.view(6, 91)[:, 3] += 50
    torch.save(weights, coco_weights.with_name('cars.pth'))
    backend = open_checkpoint(import_weights(NAME, coco_weights.with_name('cars.pth')))
    _, scores = backend.infer(seeded_image((320, 320), seed=1)[None])
    assert {backend.contract.class_names[column] for column in scores[0].argmax(axis=1)} == {'car'}


def test_other_classes_are_named_by_whoever_trained_it(tmp_path):
    torch.save({'model': torchvision_state(3), 'epoch': 7}, tmp_path / 'own.pth')
    checkpoint = import_weights(NAME, tmp_path / 'own.pth', ['bolt', 'nut'])
    assert open_checkpoint(checkpoint).contract.class_names == ('background', 'bolt', 'nut')


THEIR_NAMES = (
    ('backbone.features.13.block.0.', 'backbone.features.0.13.'),
    ('backbone.features.13.block.', 'backbone.features.1.0.'),
    ('backbone.features.14.', 'backbone.features.1.1.'),
    ('backbone.features.15.', 'backbone.features.1.2.'),
    ('backbone.features.16.', 'backbone.features.1.3.'),
    ('backbone.features.', 'backbone.features.0.'),
    ('extras.', 'backbone.extra.'),
    ('conf_heads.', 'head.classification_head.module_list.'),
    ('loc_heads.', 'head.regression_head.module_list.'))


def as_torchvision(weights):
    """Call the weights of our SSDLite320 what torchvision calls them."""
    renamed = {}
    for name, value in weights.items():
        ours, theirs = next(pair for pair in THEIR_NAMES if name.startswith(pair[0]))
        renamed[theirs + name.removeprefix(ours)] = value
    return renamed


def test_a_model_that_began_with_imagenet_has_the_whole_tail():
    model = {**DETECTORS[NAME].model, 'reduced_tail': False}
    weights = SSD(ModelConfig.model_validate(model), 3).state_dict()
    assert set(as_torchvision(weights)) == set(torchvision_state(3))
    checkpoint = convert_weights(NAME, as_torchvision(weights), ['bolt', 'nut'], 'own.pth')
    assert not checkpoint.parsed_config().model.reduced_tail
    assert all(torch.equal(checkpoint.averaged[name], value) for name, value in weights.items())


def test_other_classes_need_names(tmp_path):
    torch.save(torchvision_state(3), tmp_path / 'own.pth')
    with pytest.raises(ConfigError, match="scores 2 classes .* 90 COCO's names; .*--classes"):
        import_weights(NAME, tmp_path / 'own.pth')
    with pytest.raises(ConfigError, match='scores 2 classes .* 1 given names'):
        import_weights(NAME, tmp_path / 'own.pth', ['bolt'])


def test_weights_of_another_architecture_are_refused(coco_weights):
    with pytest.raises(DataError, match=r"coco\.pth: not the weights of ssd300_vgg16: it has a "
                                        r"weight 'backbone\.extra\.0\.0\.0\.weight'"):
        import_weights('ssd300_vgg16', coco_weights)


def test_weights_that_lack_a_layer_are_refused(tmp_path):
    weights = torchvision_state(91)
    del weights['backbone.features.1.0.2.fc1.weight']
    torch.save(weights, tmp_path / 'part.pth')
    with pytest.raises(DataError, match=r'lacks 1 tensors.*features\.13\.block\.2\.fc1\.weight'):
        import_weights(NAME, tmp_path / 'part.pth')


def test_a_classifier_is_no_detector(tmp_path):
    torch.save({'classifier.0.weight': torch.zeros(3)}, tmp_path / 'classifier.pth')
    with pytest.raises(DataError, match=r"classifier\.pth: not the weights.*'classifier\.0\.wei"):
        import_weights(NAME, tmp_path / 'classifier.pth')


@pytest.mark.parametrize('content', [b'<html>', b''])
def test_a_file_that_holds_no_weights_is_named(tmp_path, content):
    (tmp_path / 'page.pth').write_bytes(content)
    with pytest.raises(DataError, match=r'page\.pth: cannot be read as weights'):
        import_weights(NAME, tmp_path / 'page.pth')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r'nothing\.pth: no such weights; download'):
        import_weights(NAME, tmp_path / 'nothing.pth')


def test_no_file_is_written_under_a_name_that_no_verb_takes(coco_weights, tmp_path, capsys):
    assert main(['import-weights', NAME, '--weights', str(coco_weights), '--output',
                 str(tmp_path / 'model.bin')]) == 1
    assert ('model.bin: a checkpoint is named .pt or .pth, a backbone .safetensors'
            in capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
