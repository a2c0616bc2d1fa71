"""What a network begins with: which tensors of a file are taken, and what is said about it."""

import dataclasses
from dataclasses import asdict
import hashlib
import re

import pytest
import torch

from helpers.model_settings import small_run
from helpers.paths import ROOT
from helpers.synthetic import SHAPES
from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.model.mobilenet_v3 import MobileNetV3Large
from mbv2ssd_train.model.ssd import build_backbone, SSD
from mbv2ssd_train.model.vgg16 import VGG16
from mbv2ssd_train.run.checkpoint import Checkpoint, RunState
from mbv2ssd_train.weights.start import load_backbone, load_network, load_start, Scores

SHIPPED = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'


def learnt_network(config):
    """A network whose BatchNorms have seen data."""
    network = build_network(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.3, 0.3)
    for head in (*network.loc_heads, *network.conf_heads):
        head[-1].bias.data.uniform_(-0.3, 0.3)
    return network


def write_checkpoint(path, config):
    weights = learnt_network(config).state_dict()
    Checkpoint(config=config.to_yaml(), class_names=config.data.classes, fingerprints={},
               state=asdict(RunState()), model={}, averaged=weights, learner={}, random={},
               map_50=None).save(path)
    return weights


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A checkpoint of three classes, and its weights."""
    path = tmp_path_factory.mktemp('source') / 'best.pt'
    return path, write_checkpoint(path, small_run('d'))


def start(path, **sections):
    """Begin with a file; return the network's weights before and after, and the report."""
    model = {'weights': str(path), **sections.pop('model', {})}
    config = small_run('d', model=model, **sections)
    network = build_network(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = load_start(network, config)
    return before, network.state_dict(), report


def test_the_same_network_takes_every_tensor(source):
    path, weights = source
    _, after, report = start(path)
    counted = [name for name in weights if 'num_batches' not in name]
    assert all(torch.equal(after[name], weights[name]) for name in counted)
    named = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert report == f'{path} (sha256 {named}): {len(counted)} of {len(counted)} tensors taken'


def test_other_classes_leave_the_class_predictors_at_random(source):
    path, weights = source
    before, after, report = start(path, data={'classes': ['bolt']})
    predictors = {f'conf_heads.{level}.1.{kind}' for level in range(5)
                  for kind in ('weight', 'bias')}
    for name, value in after.items():
        if 'num_batches' not in name:
            assert torch.equal(value, before[name] if name in predictors else weights[name]), name
    # what comes before the predictor in a head knows no classes
    assert 'conf_heads: 4 -> 2 columns of scores: 10 tensors begin at random (0.1.weight, ' \
        in report


def test_as_many_classes_with_other_names_are_other_classes(source):
    _, _, report = start(source[0], data={'classes': ['bolt', 'nut', 'rivet']})
    assert 'conf_heads: other classes: 10 tensors begin at random' in report


def test_classes_of_the_same_names_are_taken_over_and_new_ones_named(source):
    path, weights = source
    _, after, report = start(path, data={'classes': ['bolt', *SHAPES[::-1]]})
    assert f'heads translated: {len(SHAPES)} classes by name, new bolt' in report
    assert 'begin at random' not in report
    columns = len(SHAPES) + 1
    torch.testing.assert_close(  # the last class is the first one here
        after['conf_heads.0.1.bias'].reshape(-1, columns + 1)[:, 2],
        weights['conf_heads.0.1.bias'].reshape(-1, columns)[:, -1])


@pytest.mark.parametrize('classes, expected', [
    (('a', 'b', 'c'), ''), (('a', 'b'), 'softmax -> sigmoid scores')])
def test_probabilities_of_another_kind_are_no_beginning(classes, expected):
    # three names under sigmoid have as many columns as two under softmax
    found = Scores(('a', 'b'), sigmoid=False)
    assert found.columns == Scores(('a', 'b', 'c'), sigmoid=True).columns == 3
    assert found.difference(Scores(('a', 'b', 'c'), True)) == 'softmax -> sigmoid scores'
    assert Scores(classes, True).difference(Scores(classes, True)) == ''


def test_other_shapes_of_priors_translate_both_predictors(source):
    path, weights = source
    _, after, report = start(path, model={'aspect_ratios': [2.0, 3.0]})
    assert 'heads translated: boxes to the most similar priors' in report
    for part in ('loc_heads', 'conf_heads'):  # four values, then as many of two more shapes
        torch.testing.assert_close(after[f'{part}.0.1.weight'][:16],
                                   weights[f'{part}.0.1.weight'])
    assert torch.equal(after['extras.1.2.0.weight'], weights['extras.1.2.0.weight'])


def test_priors_of_a_file_that_does_not_tell_them_leave_both_predictors_at_random(source):
    network = build_network(small_run('d', model={'aspect_ratios': [2.0, 3.0]}))
    report = load_network(network, source[0], Scores(tuple(SHAPES), False))
    for part in ('loc_heads', 'conf_heads'):  # four shapes of four values, then six
        assert f'{part}: other shapes: 10 tensors begin at random (0.1.weight (16, ' in report


def test_weights_that_were_learnt_for_other_colours_are_taken_with_a_remark(source):
    _, _, report = start(source[0], model={'std': 0.25})
    assert 'learnt with another std (0.5, 0.5, 0.5) -> (0.25, 0.25, 0.25)' in report
    assert 'learnt with another' not in start(source[0])[2]


def test_other_extras_begin_at_random_and_are_named(source):
    _, _, report = start(source[0], model={'extras': 'conv'})
    assert 'extras: not in the file: ' in report
    assert '; loc_heads' not in report  # of the same channels


@pytest.mark.parametrize('model, match', [
    ({'width_mult': 0.5}, r'best\.pt: its backbone is another one, \d+ of its tensors differ: '
                          r'backbone\.\S+: other shapes \(\d+.*\) -> \(\d+.*\)\. Set mod'),
    ({'backbone': 'mobilenet_v3_large', 'width_mult': 1.0}, 'backbone is another one')])
def test_another_backbone_is_an_error(source, model, match):
    with pytest.raises(DataError, match=match):
        start(source[0], model=model)


def test_a_backbone_that_has_more_layers_is_another_one(source):
    # torch's VGG16 shares no name with a MobileNet, whatever the shapes are
    network = SSD(ModelConfig(
        input_size_hw=(300, 300), backbone='vgg16', extra_channels=(8, 8, 8, 8)), 4)
    with pytest.raises(DataError, match='backbone is another one'):
        load_network(network, source[0], Scores(('a', 'b', 'c'), False))


def test_an_exported_model_has_no_statistics_to_go_on_with():
    sections = {'model': {'width_mult': 1.0}, 'training': {}}
    _, _, report = start(SHIPPED, **sections)
    assert 'set training.freeze_bn' in report
    _, _, report = start(SHIPPED, model={'width_mult': 1.0}, training={'freeze_bn': True})
    assert 'set training.freeze_bn' not in report


def test_an_integer_model_is_no_beginning(tmp_path):
    import onnx
    model = onnx.load(SHIPPED)
    entry, = (item for item in model.metadata_props if item.key == 'mbv2ssd.contract')
    entry.value = entry.value.replace('"precision": "fp32"', '"precision": "int8"')
    onnx.save(model, tmp_path / 'int8.onnx')
    with pytest.raises(DataError, match=r'int8\.onnx: has precision int8; only a float32 file'):
        start(tmp_path / 'int8.onnx', model={'width_mult': 1.0})


def test_a_model_that_says_nothing_about_itself_is_no_beginning(tmp_path):
    import onnx
    model = onnx.load(SHIPPED)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'other.onnx')
    with pytest.raises(DataError, match=r'other\.onnx: has no contract; only a float32 file'):
        start(tmp_path / 'other.onnx', model={'width_mult': 1.0})


def with_changed_configuration(path, change):
    """Write the shipped model with another text for its configuration."""
    import onnx
    model = onnx.load(SHIPPED)
    entry, = (item for item in model.metadata_props if item.key == METADATA_KEY)
    contract = ModelContract.from_json(entry.value, 'shipped')
    entry.value = dataclasses.replace(contract, provenance=dataclasses.replace(
        contract.provenance, config=change(contract.provenance.config))).to_json()
    onnx.save(model, path)


def test_heads_of_an_exported_model_whose_other_sections_are_of_another_version(tmp_path):
    path = tmp_path / 'older.onnx'
    with_changed_configuration(path, lambda text: f'{text}a_former_section: {{key: 1}}\n')
    _, _, report = start(path, model={'width_mult': 1.0, 'scales': [0.1, 0.3, 0.5, 0.7, 0.8]})
    assert 'heads translated: boxes to the most similar priors' in report


def test_a_network_that_cannot_be_read_is_told_of(tmp_path):
    path = tmp_path / 'newer.onnx'
    with_changed_configuration(path, lambda text: text.replace(' first_stride:', ' of_2030:'))
    _, _, report = start(path, model={'width_mult': 1.0})
    assert '; its configuration cannot be read, heads are not translated' in report


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r'/no\.pt: no such weights; set model\.weights to a chec'):
        start(tmp_path / 'no.pt')


def test_two_beginnings_are_refused():
    with pytest.raises(ValueError, match='weights and backbone_weights are both set'):
        ModelConfig(weights='a.pt', backbone_weights='b.pth')


def test_no_file_leaves_nothing_to_say():
    config = small_run('d')
    assert load_start(build_network(config), config) == ''


@pytest.mark.parametrize('backbone, own', [
    (lambda: MobileNetV3Large(0.35), ()), (VGG16, ('l2_norm.', 'fc6.', 'fc7.'))])
def test_a_classifier_of_torchvision_gives_its_features(tmp_path, backbone, own):
    source, target = backbone(), backbone()
    weights = {name: value for name, value in source.state_dict().items()
               if name.startswith('features.')}
    torch.save({**weights, 'classifier.0.weight': torch.zeros(2, 2)}, tmp_path / 'weights.pth')
    before = {name: value.clone() for name, value in target.state_dict().items()}
    left = load_backbone(target, tmp_path / 'weights.pth')
    assert [f'{name}.' for name in left] == sorted(own)
    for name, value in target.state_dict().items():
        expected = before[name] if name.startswith(own) and own else weights[name]
        assert torch.equal(value, expected), name


def test_weights_of_another_kind_of_backbone_are_refused(tmp_path):
    torch.save(MobileNetV3Large(0.35).state_dict(), tmp_path / 'v3.pth')
    with pytest.raises(DataError, match=r'v3\.pth: (its layers have other sizes|not the weights)'):
        load_backbone(build_backbone(ModelConfig(width_mult=0.35)), tmp_path / 'v3.pth')


def test_the_report_of_a_backbone_names_the_file(tmp_path):
    config = small_run('d')
    torch.save(build_backbone(config.model).state_dict(), tmp_path / 'imagenet.pth')
    config = small_run('d', model={'backbone_weights': str(tmp_path / 'imagenet.pth')})
    assert re.search(r'/imagenet\.pth \(sha256 \w{12}\): backbone taken; extras and heads begin',
                     load_start(build_network(config), config))
