"""The configurations that come with the package, and everything they can be composed of."""

import itertools

import pytest
import yaml

from helpers.paths import ROOT
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import load_config, TrainConfig

FOLDER = ROOT / 'config' / 'train'
EXPERIMENTS = sorted(FOLDER.glob('*.yaml'))
BASE = FOLDER / 'base'
SECTIONS = {section.name: sorted(section.glob('*.yaml')) for section in sorted(BASE.iterdir())}
TEMPLATE = FOLDER / 'template.yaml'
DATA = {'name': 'x', 'data': {'root': 'd', 'train': ['a'], 'val': 'b'}}


def composed(folder, **defaults):
    """Load an experiment of components."""
    path = folder / 'experiment.yaml'
    path.write_text(yaml.safe_dump(
        {'defaults': {section: str(file) for section, file in defaults.items()}, **DATA}))
    return load_config(path)


def test_there_is_something_to_choose_from():
    assert {name: [path.stem for path in files] for name, files in SECTIONS.items()
            if name != 'model'} == {
        'augment': ['light', 'ssd'], 'loss': ['focal', 'quality_focal', 'ssd'],
        'optimizer': ['adamw_finetune', 'sgd'], 'schedule': ['cosine', 'multistep', 'step'],
        'training': ['cpu', 'gpu']}


@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_loads_and_says_how_it_is_started(path):
    assert load_config(path).data.train
    assert 'mbv2ssd_train train ' in path.read_text()


@pytest.mark.parametrize('path', [path for files in SECTIONS.values() for path in files],
                         ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_a_component_sets_what_it_says(path, tmp_path):
    section = path.parent.name
    assert section in TrainConfig.model_fields
    found = getattr(composed(tmp_path, **{section: path}), section).model_dump(mode='json')
    written = yaml.safe_load(path.read_text())
    assert {key: found[key] for key in written if key not in ('mean', 'std')} == {
        key: value for key, value in written.items() if key not in ('mean', 'std')}
    assert path.read_text().startswith('# ')


def test_every_combination_of_components_loads(tmp_path):
    names, recipes = sorted(SECTIONS), set()
    for files in itertools.product(*(SECTIONS[name] for name in names)):
        recipes.add(composed(tmp_path, **dict(zip(names, files))).recipe_fingerprint())
    expected = 1
    for files in SECTIONS.values():
        expected *= len(files)
    assert len(recipes) == expected >= 72


def test_the_template_shows_every_section_and_mechanism():
    found = yaml.safe_load(TEMPLATE.read_text())
    assert set(found) - {'defaults', 'overrides'} <= set(TrainConfig.model_fields)
    assert set(TrainConfig.model_fields) <= set(found) | set(found['defaults'])
    assert set(found['defaults']) == set(SECTIONS)
    assert set(found['experiment']) == set(
        TrainConfig.model_fields['experiment'].annotation.model_fields)
    for name, files in SECTIONS.items():
        line = next(line for line in TEMPLATE.read_text().splitlines()
                    if line.startswith(f'  {name}: base/'))
        if '...' not in line:
            assert all(path.stem in line for path in files), line


def test_variables_of_the_template_have_defaults(monkeypatch):
    for name in ('USER', 'MBV2SSD_DATA'):
        monkeypatch.delenv(name, raising=False)
    config = load_config(TEMPLATE)
    assert (config.data.root, config.experiment.author) == ('path/to/your/data', 'somebody')
    monkeypatch.setenv('MBV2SSD_DATA', '/data/bolts')
    assert load_config(TEMPLATE).data.root == '/data/bolts'


def test_body_overrides_and_command_line_win_in_this_order(tmp_path):
    found = yaml.safe_load(TEMPLATE.read_text())
    found['defaults'] = {name: str(FOLDER / file) for name, file in found['defaults'].items()}
    found['training'] = {'epochs': 7, 'batch_size': 4}
    found['overrides'] = {'training': {'batch_size': 8}}
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(found))
    training = load_config(path, ('training.eval_every=3',)).training
    assert (training.epochs, training.batch_size, training.eval_every) == (7, 8, 3)
    assert training.freeze_bn  # of base/training/cpu.yaml


def test_the_template_is_an_experiment_of_the_program(capsys):
    assert main(['train', str(TEMPLATE), '--print-config']) == 0
    assert yaml.safe_load(capsys.readouterr().out)['experiment']['tags'] == ['baseline']
