"""The typed configuration: what it refuses, and how it says so."""


import pytest
import yaml

from helpers.model_settings import small_run
from helpers.paths import ROOT
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.config import load_config, parse_config

MINIMAL = {'name': 'x', 'data': {'root': 'd', 'train': ['a'], 'val': 'b'}}
SHIPPED = sorted((ROOT / 'config' / 'train').glob('*.yaml'))


def parse(*overrides, **sections):
    return parse_config(yaml.safe_dump({**MINIMAL, **sections}), 'my.yaml', overrides)


def refused(said, /, *overrides, **sections):
    with pytest.raises(ConfigError, match=said) as caught:
        parse(*overrides, **sections)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path):
    assert load_config(path).name


def test_an_unknown_key_names_file_place_and_the_nearest_one():
    refused(r"my\.yaml: training\.epoch: unknown key; did you mean 'epochs'\?",
            training={'epoch': 3})
    refused(r"my\.yaml: optimiser: unknown key; did you mean 'optimizer'\?", optimiser={})
    refused(r"augment\.flipp: unknown key; did you mean 'flip'\?", 'augment.flipp=1')


def test_a_key_of_a_section_is_found_where_it_belongs():
    refused(r"my\.yaml: epochs: unknown key; did you mean 'training\.epochs'\?", 'epochs=5')


def test_values_of_another_form_are_told_in_words_of_yaml():
    refused(r"data\.train: expected a list, such as \[a, b\] \(found 'voc'\)", 'data.train=voc')
    refused(r'training: expected a section of keys and values \(found 5\)', 'training=5')
    refused(r'my\.yaml: match: ignore_iou 0\.6 is above', 'match.ignore_iou=0.6')


def test_a_key_like_no_other_lists_those_there_are():
    refused(r'experiment\.xyzzy: unknown key; known keys are author, created, description, tags$',
            experiment={'xyzzy': 1})


def test_all_faults_are_told_at_once():
    refused('optimizer.lr: unknown key; .*; training.epochs: Input should', training={'epochs': 0},
            optimizer={'lr': 1})


def test_a_missing_key_is_named():
    found = {'name': 'x', 'data': {'root': 'd', 'train': ['a']}}
    with pytest.raises(ConfigError, match=r'my\.yaml: data\.val: Field required$'):
        parse_config(yaml.safe_dump(found), 'my.yaml')


@pytest.mark.parametrize('text', ['', '- a', 'just words', '[1, 2'])
def test_a_file_of_another_form_is_named(text):
    with pytest.raises(ConfigError, match=r'my\.yaml: '):
        parse_config(text, 'my.yaml')


@pytest.mark.parametrize('override, match', [
    ('training.epochs=0', r'training\.epochs: .*greater than or equal to 1 \(found 0\)'),
    ('training.epochs=many', r"training\.epochs: .*integer.* \(found 'many'\)"),
    ('training.batch_size=1', r'training\.batch_size: .*equal to 2 \(found 1\)'),
    ('training.precision=fp8',
     r"training\.precision: .*'auto', 'fp32', 'bf16' or 'fp16' \(found 'fp8'\)"),
    ('optimizer.learning_rate=.nan', r'optimizer\.learning_rate: .*finite.*'),
    ('optimizer.learning_rate=.inf', r'optimizer\.learning_rate: .*finite.*'),
    ('optimizer.momentum=1', r'optimizer\.momentum: .*less than 1 \(found 1\)'),
    ('model.variances=[0, 0.2]', r'model\.variances\.0: .*greater than 0 \(found 0\)'),
    ('model.std=0', r'model\.std\.0: .*greater than 0 \(found 0\)'),
    ('model.mean=.nan', r'model\.mean\.0: .*finite'),
    ('model.input_size_hw=[224]', r'model\.input_size_hw\.1: Field required'),
    ('model.input_size_hw=[0, 224]', r'model\.input_size_hw\.0: .*equal to 32 \(found 0\)'),
    ('model.scales=[0.1, 0.2]', r'model\.scales: .*at least 3'),
    ('model.scales=[0.1, 0.2, 0.3]', r'model: .*scales has 3 entries.*expected 6, or one more$'),
    ('model.extra_channels=[512, 256, 1]', r'model\.extra_channels\.2: .*equal to 2'),
    ('model.aspect_ratios=[-1]', r'model\.aspect_ratios\.0: .*greater than 0'),
    ('augment.crop_ious=[]', r'augment\.crop_ious: .*at least 1'),
    ('augment.crop_ious=[1.5]', r'augment\.crop_ious\.0: .*less than or equal to 1'),
    ('match.ignore_iou=0.6', r'match: .*ignore_iou 0\.6 is above match_iou 0\.5$'),
    ('data.train=voc', r"data\.train: .*\(found 'voc'\)"),
    ('data.train=[]', r'data\.train: .*at least 1'),
    ('name=../x', r"name: .*\(found '\.\./x'\)")])
def test_an_impossible_value_is_refused_with_place_and_value(override, match):
    refused(match, override)


@pytest.mark.parametrize('names, match', [
    (['background', 'bolt'], "'background' is added automatically; leave it out"),
    (['bolt', 'nut', 'bolt'], 'bolt is listed more than once'),
    (['bolt', ''], 'a class name is empty'),
    (['bolt', ' nut'], 'a class name is empty or has spaces')])
def test_classes_that_no_model_could_have_are_refused_at_once(names, match):
    refused(rf'data\.classes: .*{match}', data={**MINIMAL['data'], 'classes': names})


def test_the_exponent_that_yaml_takes_for_text_is_a_number():
    assert parse('optimizer.learning_rate=1e-3').optimizer.learning_rate == 0.001


def test_an_override_of_another_form_is_quoted():
    refused("override 'training.epochs' is not of the form key.path=value", 'training.epochs')
    refused(r"override 'data.train=\[a'", 'data.train=[a')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'nothing\.yaml: no such configuration file'):
        load_config(tmp_path / 'nothing.yaml')


def test_explained_yaml_is_valid_and_loads_back_equal():
    config = small_run('some/where', augment={'flip': 0.25}, name='a-b')
    text = config.to_explained_yaml()
    assert parse_config(text, 'x') == config == parse_config(config.to_yaml(), 'x')
    assert yaml.safe_load(text) == yaml.safe_load(config.to_yaml())


def test_every_key_is_explained():
    for line in small_run('d').to_explained_yaml().splitlines():
        assert '  # ' in line and not line.endswith('None'), line


def test_a_default_that_is_written_out_is_the_same_experiment():
    plain, written = small_run('d'), small_run('d', augment={'flip': 0.5}, schedule={})
    assert written.recipe_fingerprint() == plain.recipe_fingerprint()
    assert parse_config(plain.to_yaml(), 'x').recipe_fingerprint() == plain.recipe_fingerprint()


def test_what_changes_the_weights_changes_the_recipe_and_paths_do_not():
    config = small_run('here')
    recipe = config.recipe_fingerprint()
    assert small_run('there').recipe_fingerprint() == recipe
    assert small_run('here', training={'threads': 2}).recipe_fingerprint() == recipe
    for change in ({'seed': 2}, {'training': {'epochs': 3}}, {'augment': {'flip': 0.1}},
                   {'data': {'train': ['other']}}):
        assert small_run('here', **change).recipe_fingerprint() != recipe, change


def test_the_architecture_is_that_of_the_weights_alone():
    arch = small_run('here').arch_fingerprint()
    assert small_run('here', training={'epochs': 9}, seed=3).arch_fingerprint() == arch
    assert small_run('here', model={'input_size_hw': [96, 96]}).arch_fingerprint() == arch
    assert small_run('here', model={'width_mult': 0.5}).arch_fingerprint() != arch
    assert small_run('here', data={'classes': ['a', 'b']}).arch_fingerprint() != arch
